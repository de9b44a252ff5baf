"""Results: rows of figures, ratios between them, tables in text, files in JSON."""

import json
import math
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Result = dict[str, Any]
Ratios = dict[str, dict[str, float]]  # by what is compared, then by shape
MEAN = "geo. mean"


def pick(rows: Iterable[Row], **where: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in where.items())]


def unique(rows: Iterable[Row], column: str) -> list[Any]:
    """The values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def medians(rows: Iterable[Row], **where: Any) -> dict[str, float]:
    """The medians of the rows that have these values, by shape."""
    return {row["shape"]: row["median"] for row in pick(rows, **where)}


def over(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """`a / b` where both are known, and their geometric mean."""
    ratios = {name: a[name] / b[name] for name in a if b.get(name)}
    return ratios | ({MEAN: math.exp(statistics.fmean(map(math.log, ratios.values())))} if ratios else {})


def comparison(title: str, rows: Sequence[Row], ratios: Ratios) -> str:
    """A table with a line a contender and a column a shape; under it a line a ratio, with its mean over shapes."""
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


def ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


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
