"""The targets on an H100, which stood before anything was measured, and what was found beside each."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.accelerator import roofline
from benchmarks.accelerator.contenders import OURS
from benchmarks.accelerator.jobs import SCAN
from benchmarks.results import Result, Row, digits, pick, table, unique, value

NOT_MEASURED, DEVICE = "not measured", "H100"


class Found(NamedTuple):
    """A figure, and which row it is of."""

    figure: float
    where: str


class Target(NamedTuple):
    """What is asked for.

    Attributes:
      title: in words.
      limit: of the worst case.
      least: whether the limit is the least that is enough, and not the most.
      found: `rows -> Found`s, of which the worst one counts.
    """

    title: str
    limit: float
    least: bool
    found: Callable[[list[Row]], Iterator[Found]]


def over_torch(contender: str) -> Callable[[list[Row]], Iterator[Found]]:
    """An LSTM's time over that of PyTorch's, which is cuDNN's on NVIDIA's GPUs."""

    def found(rows: list[Row]) -> Iterator[Found]:
        for row in pick(rows, cell="lstm", contender=contender):
            for theirs in beside(rows, row, kind="torch", contender="torch"):
                yield Found(quotient(row, theirs), label(row))

    return found


def peers_over_ours(rows: list[Row]) -> Iterator[Found]:
    """The time of each loop in JAX over ours. Keras calls cuDNN for an LSTM in float32, so that is no loop."""
    for row in pick(rows, contender=OURS):
        if row["cell"] == SCAN:
            continue
        for theirs in beside(rows, row, kind="jax"):
            if (theirs["contender"], row["cell"], row["dtype"]) != ("keras", "lstm", "float32"):
                yield Found(quotient(theirs, row), f"{theirs['contender']}, {label(row)}")


def share_of_bandwidth(rows: list[Row]) -> Iterator[Found]:
    """How much of the bandwidth of a copy `linear_scan` has, forward, by the best of its methods."""
    peaks = roofline.peaks(rows)
    ours = pick(rows, cell=SCAN, kind="ours", what="forward")
    for dtype in unique(ours, "dtype") if peaks else []:
        best = min(pick(ours, dtype=dtype), key=lambda row: row["median"])
        yield Found(best["bytes"] / peaks.bytes / best["median"] * 1e3, f"{best['contender']}, {label(best)}")


TARGETS = (
    Target("LSTM by method='cudnn', time over PyTorch's cuDNN", 1.2, False, over_torch(f"{OURS}: cudnn")),
    Target("LSTM by the engine, time over PyTorch's cuDNN", 3, False, over_torch(OURS)),
    Target("loops of JAX peers, time over the engine's", 2, True, peers_over_ours),
    Target("linear_scan, forward, share of a copy's bandwidth", 0.7, True, share_of_bandwidth),
)


def beside(rows: list[Row], row: Row, **where: str) -> list[Row]:
    """The rows of the same job that have these values."""
    same = {name: row[name] for name in ("cell", "shape", "dtype", "graphs", "what")}
    return pick(rows, **same, **where)


def quotient(a: Row, b: Row) -> float:
    return value(a).median / value(b).median


def label(row: Row) -> str:
    return f"{row['cell']} {row['shape']} {row['dtype']}, {row['what']}"


def told(result: Result) -> str:
    """The table of the targets; the worst case of each, without XLA's graph options."""
    rows = [row for row in result["rows"] if not row.get("graphs")]
    there = any(DEVICE in device for device in result["environment"]["devices"])
    lines = []
    for title, limit, least, find in TARGETS:
        line = [title, f"{'≥' if least else '≤'} {limit:g}"]
        if found := list(find(rows)):
            worst = (min if least else max)(found, key=lambda it: it.figure)
            met = "yes" if (worst.figure >= limit if least else worst.figure <= limit) else "no"
            lines.append([*line, digits(worst.figure), met if there else f"no {DEVICE} here", worst.where])
        else:
            lines.append([*line, NOT_MEASURED, "–", "–"])
    return table([f"targets, set for an {DEVICE}", "target", "found", "met", "in the worst case"], lines)
