"""The run that the tests of the command line share, and what they read of runs."""

import json
from pathlib import Path
from typing import Any

TEXT = "the quick brown fox jumps over the lazy dog\n" * 40
SMALL = ["--cell", "elman", "--layers", "2", "--hidden", "8", "--steps", "6", "--window", "5", "--batch", "4"]


def contents(directory: Path) -> dict[Path, bytes]:
    """All files below a directory, hidden ones included."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def lines(run: Path) -> list[dict[str, Any]]:
    """The lines of the metrics of a run: a description, then records."""
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
