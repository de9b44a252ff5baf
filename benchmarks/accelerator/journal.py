"""What a run has done, so that the same command goes on where it was stopped, and past what brought it down."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lines import Lines
from benchmarks.results import Row


class Done(NamedTuple):
    """What came of a job.

    Attributes:
      rows: its figures.
      skipped: who took no part, and why.
      complete: whether each contender had its turn, or a reason not to have one.
    """

    rows: list[Row]
    skipped: dict[str, str]
    complete: bool


class Journal:
    """The lines of a file that belong to one setting: contenders as they begin, jobs as they end."""

    def __init__(self, path: Path, setting: str) -> None:
        self._lines, self._setting = Lines(path), setting

    def done(self, job: Iterable[Any]) -> Done | None:
        """What is known of a job; None where it never ended."""
        found = [record for record in self._of(job) if record["event"] == "end"]
        return Done(*(found[-1][name] for name in Done._fields)) if found else None

    def begin(self, job: Iterable[Any], name: str) -> None:
        """Notes that a contender begins: untried programs may take the process down with them."""
        self._add(job, "begin", name=name)

    def interrupted(self, job: Iterable[Any]) -> None:
        """Notes that it is nobody's fault that the job does not end."""
        self._add(job, "interrupted")

    def give_up(self, job: Iterable[Any], name: str) -> None:
        """Notes that a contender is not to be tried again."""
        self._add(job, "give up", name=name)

    def end(self, job: Iterable[Any], done: Done) -> None:
        self._add(job, "end", **done._asdict())

    def given_up(self, job: Iterable[Any]) -> set[str]:
        """The contenders that are not to be tried again: those with which a process ended twice are among them."""
        since: list[str] = []
        for record in self._of(job):
            since = [*since, record["name"]] if record["event"] == "begin" else []
        if since and since.count(since[-1]) > 1:
            self.give_up(job, since[-1])
        return {record["name"] for record in self._of(job) if record["event"] == "give up"}

    def _of(self, job: Iterable[Any]) -> list[dict[str, Any]]:
        wanted = [*job]
        return [it for it in self._lines.records if it["job"] == wanted and it["setting"] == self._setting]

    def _add(self, job: Iterable[Any], event: str, **more: Any) -> None:
        self._lines.add({"setting": self._setting, "job": [*job], "event": event, **more})
