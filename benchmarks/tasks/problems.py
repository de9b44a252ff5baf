"""All problems, by the names that `--tasks` takes, and the names of all models."""

from collections.abc import Callable

from benchmarks.tasks.problem import Problem
from benchmarks.tasks.recorded import japanese_vowels, mnist1d
from benchmarks.tasks.synthetic import adding, associative_recall, copying, parity, s3

PROBLEMS: dict[str, Callable[[bool], Problem]] = {
    "adding": adding,
    "parity": parity,
    "s3": s3,
    "copying": copying,
    "mnist1d": mnist1d,
    "associative_recall": associative_recall,
    "japanese_vowels": japanese_vowels,
}
CONTENDERS = tuple(dict.fromkeys(name for problem in PROBLEMS.values() for name in problem(True).contenders))
