"""Runs the question of this package: `python -m benchmarks.catalogue --help`."""

from benchmarks.catalogue import QUESTION
from benchmarks.harness import main

main(QUESTION)
