"""Results: rows of figures, ratios between them, tables in text, files in JSON."""

import json
import math
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Value(NamedTuple):
    """A median, and the lower quartile beside it: the one that other programs on the machine disturb less.

    What was not timed has no quartile.
    """

    median: float
    lower: float | None = None


Row = dict[str, Any]
Result = dict[str, Any]
Ratios = dict[str, dict[str, Value]]  # by what is compared, then by shape
MEAN = "geo. mean"
LEGEND = "Ratios are those of medians, and in brackets those of lower quartiles."


def pick(rows: Iterable[Row], **where: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in where.items())]


def unique(rows: Iterable[Row], column: str) -> list[Any]:
    """The values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def value(row: Row) -> Value:
    """The figure of a row."""
    return Value(row["median"], row["quartiles"][0] if "quartiles" in row else None)


def values(rows: Iterable[Row], **where: Any) -> dict[str, Value]:
    """The figures of the rows that have these values, by shape."""
    return {row["shape"]: value(row) for row in pick(rows, **where)}


def least(rows: Iterable[Row]) -> dict[str, Value]:
    """The least median and the least lower quartile of each shape."""
    found: dict[str, Value] = {}
    for shape in unique(rows := list(rows), "shape"):
        here = [value(row) for row in pick(rows, shape=shape)]
        lower = [it.lower for it in here if it.lower is not None]
        found[shape] = Value(min(it.median for it in here), min(lower, default=None))
    return found


def over(a: dict[str, Value], b: dict[str, Value]) -> dict[str, Value]:
    """`a / b` where both are known, and their geometric mean."""
    ratios = {name: _quotient(a[name], b[name]) for name in a if name in b}
    if not ratios:
        return {}
    medians, lower = zip(*ratios.values(), strict=True)
    return ratios | {MEAN: Value(_mean(medians), None if None in lower else _mean(lower))}


def _quotient(a: Value, b: Value) -> Value:
    return Value(a.median / b.median, None if a.lower is None or b.lower is None else a.lower / b.lower)


def _mean(ratios: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def comparison(title: str, rows: Sequence[Row], ratios: Ratios) -> str:
    """A table with a line a contender and a column a shape; under it a line a ratio, with its mean over shapes.

    Medians stand before their quartiles; ratios of medians before those of the lower quartiles.
    """
    shapes = unique(rows, "shape")
    lines: list[list[str]] = []
    for name in unique(rows, "contender"):
        found = {row["shape"]: row for row in pick(rows, contender=name)}
        lines.append([name, *(spread(found.get(shape)) for shape in shapes), ""])
    lines.append([])
    lines += [[name, *(ratio(at.get(shape)) for shape in [*shapes, MEAN])] for name, at in ratios.items() if at]
    return table([title, *shapes, MEAN], lines)


def spread(row: Row | None) -> str:
    """Median and quartiles of a row."""
    if row is None:
        return "–"
    quartiles = "–".join(map(digits, row.get("quartiles", ())))
    return digits(row["median"]) + (f" ({quartiles})" if quartiles else "")


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{float(f'{value:.3g}'):.10g}"


def ratio(value: Value | None) -> str:
    """The ratio of medians, and in brackets that of lower quartiles."""
    if value is None:
        return "–"
    return f"{value.median:.2f}" + ("" if value.lower is None else f" ({value.lower:.2f})")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text in columns, the first to the left, the others to the right; an empty row is a line across."""
    lines = [list(head), [], *map(list, rows)]
    widths = [max(len(line[i]) for line in lines if line) for i in range(len(head))]
    out = []
    for line in lines:
        first, *others = line or ["─" * width for width in widths]
        out.append("  ".join([first.ljust(widths[0]), *(o.rjust(w) for o, w in zip(others, widths[1:], strict=True))]))
    return "\n".join(line.rstrip() for line in out)


def save(result: Result, path: Path) -> None:
    """JSON with one row a line, written whole or not at all."""
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in result["rows"])
    rest = json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=1, ensure_ascii=False)
    draft = path.with_suffix(".part")
    draft.write_text(f'{rest[:-2]},\n "rows": [\n{rows}\n ]\n}}\n')
    os.replace(draft, path)


def load(path: Path) -> Result:
    return json.loads(path.read_text())
