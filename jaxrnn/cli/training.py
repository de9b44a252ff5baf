"""`python -m jaxrnn` begins or resumes a run, trains it, and shows the result."""

import os
import shlex
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxrnn.cli import checkpoint, devices, folder, processes, report, text
from jaxrnn.cli.lock import locked
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.run import Run, versions
from jaxrnn.cli.sample import show, written
from jaxrnn.cli.saved import checked
from jaxrnn.cli.settings import Settings, flag
from jaxrnn.cli.vocabulary import prompted

LENGTH, TEMPERATURE = 600, 0.7  # of the sample


def training(args: Namespace) -> None:
    """Trains a model and shows it.

    Args:
      args: `out`, the directory for the outputs; `text` and `valid`, paths, None for the default or the resumed run's;
        `resume`, whether to go on with the run in the directory; `keep`, how many checkpoints; `prompt`, the beginning
        of the sample; `devices`, how many of each process train; what `processes.joined` takes; and those settings that
        were given.

    Raises:
      Problem: something that the user can put right.
      KeyboardInterrupt: the user stopped it; `after_interrupt` says how to resume.
    """
    processes.checked(args)
    given = {name: value for name, value in vars(args).items() if name in Settings._fields}
    devices.prepare(args.devices)
    with processes.joined(args):
        corpus = processes.together(lambda: None if args.resume else text.read(args.text, args.valid))
        processes.agree(told(args, given, corpus))
        mesh = devices.mesh(args.devices)
        finished = (lead if processes.first() else follow)(args, given, corpus, mesh)
    if not finished:
        raise KeyboardInterrupt("" if processes.first() else "stopped, and process 0 has saved the run")


def told(args: Namespace, given: dict[str, Any], corpus: text.Corpus | None) -> dict[str, Any]:
    """Returns what has to be the same in all processes of a run, by the flags or the names that people know it by."""
    texts = (None, None) if corpus is None else (corpus.sha256, corpus.valid_sha256)
    return {
        **{flag(name): given.get(name) for name in Settings._fields},
        **dict(zip(("--text", "--valid"), texts, strict=True)),
        "--resume": args.resume,
        "--devices": args.devices,
        "--processes": args.processes,
        "the number of devices": jax.local_device_count(),
        "the versions": versions(),
    }


def lead(args: Namespace, given: dict[str, Any], corpus: text.Corpus | None, mesh: Mesh) -> bool:
    """Trains a run, as the process that keeps its directory, and returns whether it has come to its end."""
    with ExitStack() as held:
        run = processes.together(lambda: prepared(args, given, corpus, mesh, held))
        if processes.several():
            processes.shared(run.packed())
        processes.together(lambda: None)  # the others resume the run
        return finish(run, args)


def follow(args: Namespace, given: dict[str, Any], corpus: text.Corpus | None, mesh: Mesh) -> bool:
    """Trains a run beside process 0, from which it gets the checkpoint, and returns whether it has come to its end."""
    del corpus  # it is read again, as the checkpoint says
    processes.together(lambda: None)  # process 0 prepares the run
    path, data = checkpoint.within(args.out), processes.shared(None)

    def resumed() -> Run:
        saved = checked(path, checkpoint.unpacked(path, data))
        return Run.resumed(args.out, saved, given, args.text, args.valid, mesh)

    run = processes.together(resumed)
    run.train()
    return run.finished


def prepared(args: Namespace, given: dict[str, Any], corpus: text.Corpus | None, mesh: Mesh, held: ExitStack) -> Run:
    """Returns a run that has begun, or that goes on; `held` gets the lock of its directory."""
    directory = args.out
    if corpus is None:
        if not os.path.isdir(directory):
            raise Problem(f"{checkpoint.within(directory)}: cannot be read (no such directory); {checkpoint.ABSENT}")
        held.enter_context(locked(directory))
        folder.tidy(directory)
        run = Run.resumed(directory, folder.newest(directory), given, args.text, args.valid, mesh)
        prompted(run.corpus.vocabulary, args.prompt)
        return run
    run = Run(directory, Settings(**given), corpus, args.text, args.valid, mesh)
    prompted(run.corpus.vocabulary, args.prompt)
    make(directory)
    held.enter_context(locked(directory))
    folder.tidy(directory)
    run.begin()
    return run


def make(directory: Path) -> None:
    """Makes the directory of a run, if it is not there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(
            f"--out {directory}: cannot be made ({error.strerror}); name a directory that can be written"
        ) from None


def finish(run: Run, args: Namespace) -> bool:
    """Trains a run and shows its table and a sample; returns False if it was stopped before."""
    opening = prompted(run.corpus.vocabulary, args.prompt)
    print(report.heading(run.history[0], run.directory, run.step), flush=True)
    run.train(args.keep)
    run.plot()
    if not run.finished:
        return False
    print("", report.table(run.history[0], run.records), "", "sample", "", sep="\n")
    params = devices.local(run.state.params)
    pieces = written(run.layer, params, run.corpus.vocabulary, opening, run.sample_key, LENGTH, TEMPERATURE)
    sample = show(args.prompt, pieces)
    checkpoint.write(run.directory / folder.SAMPLE, f"{sample}\n".encode())
    print("", "", f"{run.directory} holds {', '.join(folder.OUTPUTS)}", sep="\n")
    return True


def after_interrupt(directory: Path) -> str:
    """Returns the message for a user who has stopped a run."""
    if not os.path.exists(checkpoint.within(directory)):
        return "stopped before anything was saved"
    return f"stopped and saved; to go on: python -m jaxrnn --resume --out {shlex.quote(str(directory))}"
