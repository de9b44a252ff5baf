"""`python -m jaxrnn` begins or resumes a run, trains it, and shows the result."""

import os
import shlex
from argparse import Namespace
from pathlib import Path

from jaxrnn.cli import checkpoint, report, text
from jaxrnn.cli.lock import locked
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.run import OUTPUTS, SAMPLE, Run
from jaxrnn.cli.sample import show, written
from jaxrnn.cli.settings import Settings
from jaxrnn.cli.vocabulary import prompted

LENGTH, TEMPERATURE = 600, 0.7  # of the sample


def training(args: Namespace) -> None:
    """Trains a model and shows it.

    Args:
      args: `out`, the directory for the outputs; `text` and `valid`, paths, None for the default or the resumed run's;
        `resume`, whether to go on with the run in the directory; `prompt`, the beginning of the sample; and those
        settings that were given.

    Raises:
      Problem: something that the user can put right.
      KeyboardInterrupt: the user stopped it; `after_interrupt` says how to resume.
    """
    directory = args.out
    given = {name: value for name, value in vars(args).items() if name in Settings._fields}
    if args.resume:
        if not os.path.isdir(directory):
            raise Problem(f"{checkpoint.within(directory)}: cannot be read (no such directory); {checkpoint.ABSENT}")
        with locked(directory):
            finish(Run.resumed(directory, given, args.text, args.valid), args.prompt)
        return
    run = Run(directory, Settings(**given), text.read(args.text, args.valid), args.text, args.valid)
    prompted(run.corpus.vocabulary, args.prompt)
    make(directory)
    with locked(directory):
        run.begin()
        finish(run, args.prompt)


def make(directory: Path) -> None:
    """Makes the directory of a run, if it is not there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(
            f"--out {directory}: cannot be made ({error.strerror}); name a directory that can be written"
        ) from None


def finish(run: Run, prompt: str) -> None:
    """Trains a run to its end and shows its table and a sample."""
    opening = prompted(run.corpus.vocabulary, prompt)
    print(report.heading(run.history[0], run.directory, run.step), flush=True)
    run.train()
    run.plot()
    if not run.finished:
        raise KeyboardInterrupt
    print("", report.table(run.history[0], run.records), "", "sample", "", sep="\n")
    pieces = written(run.layer, run.state.params, run.corpus.vocabulary, opening, run.sample_key, LENGTH, TEMPERATURE)
    sample = show(prompt, pieces)
    checkpoint.write(run.directory / SAMPLE, f"{sample}\n".encode())
    print("", "", f"{run.directory} holds {', '.join(OUTPUTS)}", sep="\n")


def after_interrupt(directory: Path) -> str:
    """Returns the message for a user who has stopped a run."""
    if not os.path.exists(checkpoint.within(directory)):
        return "stopped before anything was saved"
    return f"stopped and saved; to go on: python -m jaxrnn --resume --out {shlex.quote(str(directory))}"
