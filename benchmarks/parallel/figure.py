"""The results as a plot: what devices exchange and hold, and how efficient pods would be."""

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.parallel import tables
from benchmarks.parallel.trial import STEP
from benchmarks.parallel.ways import WAYS
from benchmarks.results import Result, Row, pick, unique


def draw(result: Result) -> Figure:
    rows = result["rows"]
    figure, axes = plots.panels(3, [2.8, 2.8])
    pods = pick(rows, what=tables.POD)
    for ax, chip in zip(axes[0], unique(pods, "chip"), strict=True):
        _curves(ax, pick(pods, chip=chip), lambda row: 100 * row["efficiency"])
        ax.set_ylim(0, 105)
        plots.title(ax, f"{chip}, predicted")
        plots.label(ax, x="chips", y="efficiency, %")
    steps = pick(rows, what=STEP)
    measured: tuple[tuple[str, Callable[[Row], float]], ...] = (
        ("collectives a step", lambda row: sum(it.count for it in tables.exchanged(row))),
        ("KiB exchanged a step", tables.kibibytes),
        ("MiB of a device", tables.mebibytes),
    )
    for ax, (name, value) in zip(axes[1], measured, strict=True):
        _curves(ax, steps, value)
        ax.set_yscale("log")
        plots.plain_numbers(ax.yaxis)
        plots.title(ax, "compiled programs")
        plots.label(ax, x="devices", y=name)
    plots.legend(figure)
    return figure


def _curves(ax: Axes, rows: list[Row], value: Callable[[Row], float]) -> None:
    for j, (name, way) in enumerate(WAYS.items()):
        points = [(row["devices"], value(row)) for row in pick(rows, contender=name)]
        shown = [(count, y) for count, y in points if y > 0]  # a logarithmic axis has no 0
        # Open circles are seen around the full ones of a curve that lies on theirs.
        look: dict[str, Any] = {"markersize": 9, "mfc": "none"} if name == "fsdp" else {"markersize": 4}
        ax.plot(*zip(*shown, strict=True), "o-", color=plots.colour(way.title, j), label=way.title, **look)
    ax.set_xscale("log", base=2)
    counts = unique(rows, "devices")
    ax.set_xticks(counts, [f"{count:,}" for count in counts], rotation=45 if len(counts) > 4 else 0)
    ax.minorticks_off()
