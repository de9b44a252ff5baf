"""Runs the question of this package: `python -m benchmarks.tasks --help`."""

from benchmarks.harness import main
from benchmarks.tasks import QUESTION

main(QUESTION)
