"""Benchmarks: one script a question; `python -m benchmarks --help`."""
