"""Which cell to choose, from the committed results of `python -m benchmarks.catalogue`."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import Result, load, pick

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
BEST = 6  # cells in a list
SOLVED = 0.01  # wrong answers at most


class Measured(NamedTuple):
    """What was measured of a cell: less is better in each field."""

    cell: str
    ms: float
    bits: float
    parity: float
    recall: float


def guide() -> str:
    """The section in Markdown, or nothing as long as there are no results."""
    files = sorted(RESULTS.glob("*/catalogue.json"))
    return section(load(files[-1])) if files else ""


def section(result: Result) -> str:
    """What the figures say about four needs."""
    found = list(measured(result))
    if not found:
        return ""
    first = pick(result["rows"], what="training", contender="jaxrnn")[0]
    about = (
        "These lists are made from the figures of `python -m benchmarks.catalogue`: all had as many parameters, one "
        "learning rate and one short training. They tell what is learned quickly by a small model, on a CPU, and not "
        "what a cell reaches in a large one. Milliseconds are those of a layer's value and gradient at "
        f"{first['shape']} (batch, steps, input features, features); parity and recall are shares of wrong answers. "
        f"They are known of {len(found)} cells; [all figures](../benchmarks/README.md)."
    )
    solved = [it for it in found if it.parity <= SOLVED]
    parts = [
        ("To read a text well, and no other cell is both better and faster", front(found)),
        ("To read a text as well as possible", best(found, "bits")),
        (
            f"To follow a state: the fastest of {len(solved)} cells with at most 1 % of errors in parity",
            best(solved, "ms"),
        ),
        ("To recall what was stored by key", best(found, "recall")),
        ("To train fast on a CPU", best(found, "ms")),
    ]
    shown = [f"{title}:\n\n{rows(cells)}" for title, cells in parts if cells]
    return "\n\n".join(["## Which cell to choose", textwrap.fill(about, 120), *shown])


def measured(result: Result) -> Iterable[Measured]:
    """Every cell of which all is known."""
    medians: dict[str, dict[str, float]] = {}
    for row in result["rows"]:
        if row.get("contender", "jaxrnn") == "jaxrnn":
            medians.setdefault(row["cell"], {})[row["what"]] = row["median"]
    names = ("training", "characters", "parity", "recall")
    for cell, known in medians.items():
        if all(name in known for name in names):
            yield Measured(cell, *(known[name] for name in names))


def front(found: list[Measured]) -> list[Measured]:
    """The cells than which none is both faster and better at reading, the fastest first."""
    kept: list[Measured] = []
    for it in sorted(found, key=lambda it: (it.ms, it.bits)):
        if not kept or it.bits < kept[-1].bits:
            kept.append(it)
    return kept


def best(found: list[Measured], field: str) -> list[Measured]:
    """The cells with the least of a field."""
    return sorted(found, key=lambda it: (getattr(it, field), it.ms))[:BEST]


def rows(found: list[Measured]) -> str:
    """A table in Markdown."""
    head = "| cell | ms | bits a character | parity | recall |\n|---|---:|---:|---:|---:|"
    lines = [f"| `{it.cell}` | {it.ms:.3g} | {it.bits:.3f} | {it.parity:.3f} | {it.recall:.3f} |" for it in found]
    return "\n".join([head, *lines])
