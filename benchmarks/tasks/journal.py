"""Runs that are finished, so that none is made twice."""

from pathlib import Path
from typing import NamedTuple

from benchmarks.lines import Lines


class Run(NamedTuple):
    """One training: what it was, and what came of it.

    Attributes:
      task: the name of the problem.
      contender: the name of the model.
      rate: the learning rate.
      seed: of parameters and data.
      limit: the most updates that it could take.
      setting: the sizes of model and batches, and whatever else changes the outcome.
      updates: those that it took.
      valid: the score on the data that learning rates are chosen by; None where the run diverged.
      tests: the scores that are reported, likewise.
      parameters: how many the model has.
    """

    task: str
    contender: str
    rate: float
    seed: int
    limit: int
    setting: str
    updates: int
    valid: float | None
    tests: dict[str, float | None]
    parameters: int


class Journal:
    """The runs in a file."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self.runs = [Run(**record) for record in self._lines.records]

    def find(self, task: str, contender: str, rate: float, seed: int, limit: int, setting: str) -> Run | None:
        """The run of these, also from a longer one or a shorter one that ended because it was solved."""
        wanted = (task, contender, rate, seed, setting)
        for run in self.runs:
            same = (run.task, run.contender, run.rate, run.seed, run.setting) == wanted
            ended_early = run.valid is not None and run.updates < run.limit and run.updates <= limit
            if same and (run.limit == limit or ended_early):
                return run
        return None

    def add(self, run: Run) -> Run:
        self.runs.append(run)
        self._lines.add(run._asdict())
        return run
