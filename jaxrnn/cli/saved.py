"""Checks a checkpoint value by value, because anyone can write a file with a valid digest."""

import json
import math
import os
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.cli import checkpoint, text
from jaxrnn.cli.model import CELLS, SCHEDULES, residual_blocks
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.settings import LIMITS, Settings

FIELDS = (
    *("state", "settings", "source", "sha256", "valid", "valid_sha256", "vocabulary"),
    *("step", "seconds", "losses", "metrics"),
)
ABOUT = (
    *("text", "sha256", "valid", "valid_sha256", "characters", "vocabulary", "held_out"),
    *("settings", "parameters", "n_gram_bits", "versions"),
)
RECORD = (
    *("step", "characters", "loss", "bits", "held_out_bits", "held_out_characters"),
    *("characters_per_second", "seconds"),
)
LARGEST = 2**63  # more than any whole number of a run
ANOTHER = "begin a new run with another --out"
NAME_IT = f"name its text with --text, and a held-out one with --valid, or {ANOTHER}"


class Saved(NamedTuple):
    """The values of a checkpoint; `state` is for `checkpoint.restore`, which knows the model."""

    state: Any
    settings: Settings
    source: str | None
    sha256: str
    valid: str | None
    valid_sha256: str | None
    vocabulary: str
    step: int
    seconds: float
    losses: list[float]
    metrics: list[dict[str, Any]]

    def corpus(
        self, path: Path, source: str | None = None, valid: str | None = None, *, remedy: str = NAME_IT
    ) -> text.Corpus:
        """Returns the run's text after checking that it is the one that the run was trained on.

        Args:
          path: of the checkpoint.
          source: path of the text, if another than it had.
          valid: path of the held-out text, likewise.
          remedy: what the user is told to do if it is not that text.
        """
        if valid is not None and self.valid is None:
            raise Problem(f"{path}: holds out the last tenth of its text; drop --valid, or {ANOTHER}")
        paths = [(source, self.source), (valid, self.valid)]
        for given, before in paths:
            if given is None and before is not None and not os.path.isfile(before):  # a pipe may have no end
                raise Problem(f"{path}: its text {before} is no file here; {remedy}")
        corpus = text.read(*(before if given is None else given for given, before in paths))
        if any(getattr(corpus, name) != getattr(self, name) for name in ("sha256", "valid_sha256", "vocabulary")):
            names = corpus.name if corpus.valid is None else f"{corpus.name} and {corpus.valid}"
            raise Problem(f"{path}: was trained on another text than {names}; {remedy}")
        return corpus


def read(path: Path) -> Saved:
    """Returns the checkpoint of a run."""
    return checked(path, checkpoint.load(path))


def checked(path: Path, saved: dict[str, Any]) -> Saved:
    """Returns the values of a checkpoint after checking the type, range and consistency of each."""

    def expect(fits: bool, name: str, found: Any, expected: str) -> None:
        if not fits:
            raise Problem(f"{path}: {name} is {reprlib.repr(found)}, expected {expected}; {checkpoint.REMEDY}")

    def has_keys(name: str, found: Any, names: tuple[str, ...]) -> None:
        expect(isinstance(found, dict), name, found, "a dict")
        if wrong := sorted(found.keys() ^ set(names), key=repr):
            said = f"lacks or does not know {reprlib.repr(wrong)}, expected {', '.join(names)}"
            raise Problem(f"{path}: {name} {said}; {checkpoint.REMEDY}")

    has_keys("what it holds", saved, FIELDS)
    settings, metrics = saved["settings"], saved["metrics"]
    has_keys("settings", settings, Settings._fields)
    cell, rate = settings["cell"], settings["learning_rate"]
    drop, schedule = settings["dropout"], settings["schedule"]
    expect(isinstance(cell, str) and cell in CELLS, "cell", cell, "a cell of jaxrnn")
    expect(_is_number(rate) and rate > 0, "learning_rate", rate, "a positive number")
    expect(isinstance(schedule, str) and schedule in SCHEDULES, "schedule", schedule, f"one of {', '.join(SCHEDULES)}")
    expect(drop is None or (_is_number(drop) and 0 <= drop < 1), "dropout", drop, "None or a number from 0 to below 1")
    for name, (low, high) in LIMITS.items():
        expect(_is_whole(settings[name], low, high), name, settings[name], f"a whole number from {low} to {high}")
    if _numbers(saved["state"]) < least_numbers(cell, settings["layers"], settings["hidden"]):
        raise Problem(f"{path}: {checkpoint.OTHER_MODEL}")
    vocabulary, step = saved["vocabulary"], saved["step"]
    for name in ("source", "valid"):
        expect(_is_str(saved[name], or_none=True), name, saved[name], "a path or None")
    expect(_is_str(saved["sha256"]), "sha256", saved["sha256"], "a str")
    expect(
        _is_str(saved["valid_sha256"], or_none=saved["valid"] is None), "valid_sha256", saved["valid_sha256"], "a str"
    )
    sorted_characters = _is_str(vocabulary) and bool(vocabulary) and [*vocabulary] == sorted({*vocabulary})
    expect(sorted_characters, "vocabulary", vocabulary, "different characters in order")
    expect(_is_whole(step, 0, settings["steps"]), "step", step, f"a whole number from 0 to {settings['steps']}")
    expect(_is_number(saved["seconds"]), "seconds", saved["seconds"], "a finite number")

    try:
        about, *records = lines = [json.loads(line) for line in metrics.splitlines()]
    except (AttributeError, ValueError, RecursionError):
        raise Problem(f"{path}: metrics is not the text of a metrics.jsonl; {checkpoint.REMEDY}") from None
    has_keys("the first line of metrics", about, ABOUT)
    expect(_is_str(about["text"]), "text", about["text"], "a str")
    expect(_is_str(about["valid"], or_none=True), "valid", about["valid"], "a str or None")
    expect(about["settings"] == settings, "settings in metrics", about["settings"], "those of the run")
    expect(_are_numbers(about["n_gram_bits"], 5), "n_gram_bits", about["n_gram_bits"], "5 finite numbers")
    before = 0
    for record in records:
        has_keys("a line of metrics", record, RECORD)
        expect(_are_numbers([*record.values()], len(RECORD)), "a line of metrics", record, "finite numbers")
        expect(_is_whole(record["step"], before + 1, step), "the step of a record", record["step"], "one after another")
        before = record["step"]
    since = step - before
    expect(
        since == 0 or step < settings["steps"], "the last record", before, f"one of step {step}, the last of the run"
    )
    expect(_are_numbers(saved["losses"], since), "losses", saved["losses"], f"{since} finite numbers, one per step")
    return Saved(**{**saved, "settings": Settings(**settings), "metrics": lines})


def least_numbers(cell: str, layers: int, hidden: int) -> int:
    """Returns a lower bound of the parameters of a model, so that wrong settings do not build a huge one."""
    return layers * hidden ** (2 if residual_blocks(cell) else 1)  # these have dense layers of their width


def _numbers(tree: Any) -> int:
    """Returns the number of entries in the arrays of nested dicts."""
    if isinstance(tree, dict):
        return sum(map(_numbers, tree.values()))
    return tree.size if isinstance(tree, np.ndarray) else 0


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_str(value: Any, *, or_none: bool = False) -> bool:
    return isinstance(value, str) or (or_none and value is None)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < (LARGEST if type(value) is int else math.inf)  # NaN is not


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(_is_number, values))
