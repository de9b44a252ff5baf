"""The table of all cells, in any order, and what stands under it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import plots
from benchmarks.catalogue.quality import CHARACTERS, PARITY, RECALL, SEEDS
from benchmarks.results import Result, digits, pick, table, unique

GOAL = 5  # times as fast as torchrecurrent
MISSING = "–"


class Line(NamedTuple):
    """One cell: what is not known is None."""

    cell: str
    time: float | None
    lower: float | None
    parameters: int | None
    torchrecurrent: float | None
    memax: float | None
    characters: float | None
    parity: float | None
    recall: float | None
    features: int | None
    structure: str

    @property
    def ahead(self) -> float | None:
        """How many times as fast as torchrecurrent's layer ours is."""
        return None if self.time is None or self.torchrecurrent is None else self.torchrecurrent / self.time

    @property
    def ahead_of_memax(self) -> float | None:
        return None if self.time is None or self.memax is None else self.memax / self.time


# How lines are sorted: what is not known comes last.
COLUMNS: dict[str, Callable[[Line], Any]] = {
    "name": lambda line: line.cell,
    "time": lambda line: line.time,
    "torchrecurrent": lambda line: line.ahead,
    "memax": lambda line: line.ahead_of_memax,
    CHARACTERS: lambda line: line.characters,
    PARITY: lambda line: line.parity,
    RECALL: lambda line: line.recall,
}


def lines(result: Result, sort: str) -> list[Line]:
    """A line for each cell, in the order of a column."""
    return ordered([line(result, cell) for cell in unique(result["rows"], "cell")], sort)


def ordered(found: list[Line], sort: str) -> list[Line]:
    key = COLUMNS[sort]
    known = [it for it in found if key(it) is not None]
    return sorted(known, key=key) + [it for it in found if key(it) is None]


def line(result: Result, cell: str) -> Line:
    rows = pick(result["rows"], cell=cell)

    def median(**where: Any) -> Any:
        return next((row["median"] for row in pick(rows, **where)), None)

    ours = next(iter(pick(rows, what="training", contender="jaxrnn")), {})
    trained = next(iter(pick(rows, what=CHARACTERS)), {})
    theirs = (median(what="training", contender=name) for name in ("torchrecurrent", "memax"))
    scores = (median(what=task) for task in (CHARACTERS, PARITY, RECALL))
    lower = ours["quartiles"][0] if ours else None
    counts = trained.get("parameters"), trained.get("features")
    structure = (ours or trained).get("structure", "")
    return Line(cell, ours.get("median"), lower, counts[0], *theirs, *scores, counts[1], structure)


def show(result: Result) -> str:
    sort = result["environment"]["arguments"].get("sort", CHARACTERS)
    found = lines(result, sort)
    skipped = result["skipped"]
    titles = ["ms", "torchrecurrent /", "memax /", "bits a character", "parity", "recall", "features", "parameters"]
    body = [
        [
            it.cell,
            timing(it.time, it.lower),
            ahead(result, it.cell, "torchrecurrent"),
            ahead(result, it.cell, "memax"),
            number(it.characters, 3) if it.characters else reason(skipped.get(f"quality of {it.cell}", MISSING)),
            number(it.parity, 3),
            number(it.recall, 3),
            MISSING if it.features is None else str(it.features),
            MISSING if it.parameters is None else f"{it.parameters:,}",
        ]
        for it in found
    ]
    said = (caption(result, sort), behind(result, found), notes(result))
    return "\n\n".join([table(["cell", *titles], body), *(plots.wrapped(text, 120) for text in said if text)])


def reason(why: str) -> str:
    """Why a cell was not trained, where there is room for it in a column."""
    return why if len(why) < 20 else "see below"


def timing(median: float | None, lower: float | None) -> str:
    return MISSING if median is None or lower is None else f"{digits(median)} ({digits(lower)})"


def ahead(result: Result, cell: str, name: str) -> str:
    """How many times as long a package's layer takes as ours, by medians and by lower quartiles."""
    rows = pick(result["rows"], cell=cell, what="training")
    ours, theirs = (next(iter(pick(rows, contender=it)), None) for it in ("jaxrnn", name))
    if not ours or not theirs:
        return MISSING
    ratios = theirs["median"] / ours["median"], theirs["quartiles"][0] / ours["quartiles"][0]
    return f"{ratios[0]:.1f} ({ratios[1]:.1f})"


def number(value: float | None, places: int) -> str:
    return MISSING if value is None else f"{value:.{places}f}"


def caption(result: Result, sort: str) -> str:
    """What the figures are, and what they do not show."""
    settings = unique([row for row in result["rows"] if "setting" in row and row["what"] == CHARACTERS], "setting")
    shapes = unique(pick(result["rows"], what="training", contender="jaxrnn"), "shape")
    busy = max((row["busy"] for row in result["rows"] if "busy" in row), default=0.0)
    trained = "; ".join(settings) or "not trained"
    return (
        f"Sorted by {sort}. Milliseconds of a layer's value and gradient, medians and lower quartiles, at "
        f"{', '.join(shapes) or 'no shape'}; the packages' columns say how many times as long their layer takes, "
        f"torchrecurrent's in PyTorch's eager mode. Other programs kept at most {busy:.2f} cores busy. Medians of "
        f"{SEEDS} seeds at one learning rate for all ({trained}); parity and recall are shares of wrong answers, so "
        "that less is better in every column. So short a training of so small a model shows what a cell learns quickly "
        "and whether it can follow a state or recall a value at all. It does not show what a cell reaches with more "
        "updates, at its own learning rate, at scale, or over long sequences."
    )


def notes(result: Result) -> str:
    """What a reader has to know of a package's layer."""
    noted = [row for row in result["rows"] if row.get("note")]
    return " ".join(f"{row['contender']}'s {row['layer']} {row['note']}." for row in noted)


def behind(result: Result, found: list[Line]) -> str:
    """The cells that do not reach the goal beside torchrecurrent, and of how many the values were compared."""
    both = [it for it in found if it.ahead is not None]
    slower = [f"{it.cell} ({it.ahead:.1f})" for it in ordered(both, "torchrecurrent") if it.ahead < GOAL]
    if not both:
        return ""
    same = len(pick(result["rows"], contender="torchrecurrent", checked="values"))
    said = (
        f"Of {len(both)} cells that torchrecurrent has too, {same} compute the same from the same weights, which was "
        "checked before they were timed; of the others parameters were counted, since weights are not copied. "
    )
    if not slower:
        return f"{said}All are {GOAL} times as fast or more."
    return f"{said}Less than {GOAL} times as fast: {', '.join(slower)}."
