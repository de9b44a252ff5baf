"""Runs the question of this package: `python -m benchmarks.accelerator --help`."""

from benchmarks.accelerator import QUESTION
from benchmarks.harness import main

main(QUESTION)
