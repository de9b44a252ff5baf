"""Starts or resumes a character model from the command line, trains it, and shows the result."""

import shlex
from pathlib import Path
from typing import Any

from jaxrnn.cli import checkpoint, report
from jaxrnn.cli.run import CHECKPOINT, OUTPUTS, SAMPLE, Run
from jaxrnn.cli.settings import Settings

LENGTH = 600  # characters of the sample


def characters(directory: Path, given: dict[str, Any], source: str | None, prompt: str, *, resume: bool) -> None:
    """Trains a model and shows it.

    Args:
      directory: for the outputs.
      given: the settings on the command line.
      source: path of the text; None: the default, or the resumed run's own.
      prompt: the beginning of the sample; if empty, it follows the end of a line, or the text's first character.
      resume: whether to resume the run in the directory.

    Raises:
      Problem: something that the user can put right.
      KeyboardInterrupt: the user stopped it; `after_interrupt` says how to resume.
    """
    run = Run.resumed(directory, given, source) if resume else Run(directory, Settings(**given), source)
    opening = run.corpus.encode(prompt) if prompt else run.corpus.opening
    if not resume:
        run.begin()
    print(report.heading(run.history[0], directory, run.step), flush=True)
    run.train()
    run.plot()
    if not run.finished:
        raise KeyboardInterrupt
    print("", report.table(run.settings.cell, run.records[-1], run.baselines), "", "sample", "", sep="\n")
    written = prompt
    print(report.visible(prompt), end="", flush=True)
    for character in run.sample(opening, LENGTH):
        written += character
        print(report.visible(character), end="", flush=True)
    checkpoint.write(directory / SAMPLE, f"{written}\n".encode())
    print("", "", f"{directory} holds {', '.join(OUTPUTS)}", sep="\n")


def after_interrupt(directory: Path) -> str:
    """Returns the message for a user who has stopped a run."""
    if not (directory / CHECKPOINT).exists():
        return "stopped before anything was saved"
    return f"stopped and saved; to go on: python -m jaxrnn --resume --out {shlex.quote(str(directory))}"
