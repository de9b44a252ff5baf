"""Writes the checkpoints of a run into its folder, keeps older ones, and finds the newest one that is whole."""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from jaxrnn.cli import checkpoint
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.report import visible
from jaxrnn.cli.saved import Saved, read

METRICS, PLOT, SAMPLE = "metrics.jsonl", "loss.png", "sample.txt"
OUTPUTS = (checkpoint.LAST, checkpoint.BEST, METRICS, PLOT, SAMPLE)


def taken(directory: Path) -> list[str]:
    """Returns the names of files that a run has left."""
    names = [name for name in OUTPUTS if os.path.lexists(directory / name)]
    return names + [path.name for path in older(directory).values()]


def save(directory: Path, values: dict[str, Any], *, best: bool = False, before: int = 0, keep: int = 1) -> None:
    """Writes a checkpoint, then the metrics, which are never ahead of it.

    A checkpoint with the best record so far is also kept. It is written first: a run that dies in between is resumed
    from an earlier step, and comes to the same record again.

    Args:
      directory: the run's.
      values: of the checkpoint.
      best: whether its last record is the best so far.
      before: the step of the checkpoint that is there.
      keep: the number of checkpoints to keep; 1 leaves older ones as they are.
    """
    path, step = checkpoint.within(directory), values["step"]
    parts = checkpoint.parts(**values)
    if best:
        checkpoint.write(checkpoint.within(directory, best=True), *parts)
    if keep > 1 and before < step:
        checkpoint.link(path, directory / f"{checkpoint.LAST}-{before}")
    checkpoint.write(path, *parts)
    checkpoint.write(directory / METRICS, values["metrics"].encode())
    if keep > 1:
        for other in [other for earlier, other in older(directory).items() if earlier < step][keep - 1 :]:
            with contextlib.suppress(OSError):  # it is removed next time
                other.unlink()


def older(directory: Path) -> dict[int, Path]:
    """Returns the older checkpoints of a run by their steps, from the newest to the oldest."""
    named = [(re.fullmatch(rf"{checkpoint.LAST}-([0-9]+)", path.name), path) for path in directory.iterdir()]
    return dict(sorted(((int(match[1]), path) for match, path in named if match), reverse=True))


def newest(directory: Path) -> Saved:
    """Returns the newest checkpoint of a run that can be read.

    If that is an older one, it takes the place of the one that cannot, and a line says so.

    Raises:
      Problem: there is none; it is about the newest.
    """
    path = checkpoint.within(directory)
    try:
        return read(path)
    except Problem as problem:
        for other in older(directory).values():
            if (saved := _readable(other)) is not None:
                checkpoint.link(other, path)
                said = f"{str(problem).partition(';')[0]}; {other.name}, of step {saved.step:,}, takes its place"
                print(f"jaxrnn: {visible(said)}", file=sys.stderr)
                return saved
        raise


def tidy(directory: Path) -> None:
    """Removes what processes that were killed have left of files that they were writing."""
    for name in OUTPUTS:
        for path in directory.glob(f".{name}*{checkpoint.PART}"):
            with contextlib.suppress(OSError):  # it is in nobody's way
                path.unlink()


def _readable(path: Path) -> Saved | None:
    try:
        return read(path)
    except Problem:
        return None
