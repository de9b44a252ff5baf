"""The look that all plots share."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.environment import machine
from benchmarks.problems import TITLES
from benchmarks.results import Result, Row, pick, unique

INK, QUIET, RULE = "#1f2933", "#66727f", "#d9dee4"
SEQUENCE = ("#d1344b", "#3f7cac", "#f0a202", "#6a994e", "#9b72cf", "#8d99a6")
COLOURS = {  # those that meet in one figure differ
    "jaxrnn": "#d1344b",
    "flax linen": "#3f7cac",
    "flax nnx": "#7fb2d6",
    "haiku": "#6a994e",
    "equinox": "#a7c957",
    "keras": "#9b72cf",
    "torch": "#f0a202",
    "recurrentgemma": "#3f7cac",
    "memax": "#f0a202",
    "S5-style associative scan": "#6a994e",
    "lax.scan": "#3f7cac",
    "lax.associative_scan": "#6a994e",
    "jaxrnn, chunked": "#f0a202",
    "exported": "#3f7cac",
    "batch split over devices": "#3f7cac",
    "σ by tanh": "#9b72cf",
    "σ by a quotient": "#6a994e",
    "products alone": "#8d99a6",
    "jaxrnn, float32": "#8d99a6",
    "jaxrnn, remat='carries'": "#e57f8f",
    "jaxrnn, remat=√T": "#f3bcc5",
    "matrix products": "#8d99a6",
    "transcendental functions": "#f0a202",
    "jaxrnn, built-in": "#d1344b",
    "jaxrnn, user's cell": "#3f7cac",
    "by hand, x W in the step": "#f0a202",
    "by hand, x W before the loop": "#6a994e",
    "LSTM": "#d1344b",
    "GRU": "#3f7cac",
    "Elman": "#f0a202",
    "LSTM, products alone": "#eda3ad",
    "GRU, products alone": "#a9c7dd",
    "Elman, products alone": "#f8d48c",
    "large square product": INK,
    "bound": INK,
    "jaxrnn: cudnn": "#ff8a5b",
    "jaxrnn: kernel": "#7a1023",
    "jaxrnn: scan": "#f3bcc5",
    "jaxrnn: associative": "#c2549d",
    "jaxrnn: chunked": "#e57f8f",
    "loop of lax.scan": "#2f4858",
    "lax's associative scan": "#57a6a1",
    "flashrnn": "#8a6d4b",
}
BOUNDS = ("products alone", "bound")
FINE, COARSE, SPARSE = (1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1,)  # ticks of a decade, the longer an axis the fewer
SHORTEST, LONG, VAST = 3.0, 8.0, 5e2  # ratios of the ends of a logarithmic axis


class Panel(NamedTuple):
    """Rows of a result as dots: a line a shape, in it a dot a contender."""

    title: str
    rows: list[Row]
    unit: str = "milliseconds"

    @property
    def height(self) -> float:
        """Inches, such that neither dots nor names touch."""
        contenders, shapes = len(unique(self.rows, "contender")), len(unique(self.rows, "shape"))
        return 0.8 + shapes * max(0.24, 0.1 + 0.115 * contenders)


def colour(name: str, position: int = 0) -> str:
    """A contender's own colour, or the next of a sequence."""
    return COLOURS.get(name, SEQUENCE[position % len(SEQUENCE)])


def panels(columns: int, heights: Sequence[float], *, width: float = 4.2, **options: Any) -> tuple[Figure, Any]:
    """A figure with a grid of axes, always two-dimensional, a line of it as high as `heights` say."""
    figure = Figure(figsize=(width * columns, sum(heights) + 0.9), layout="constrained", facecolor="white")
    ratios = {"height_ratios": heights}
    axes = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw=ratios, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(RULE)
        ax.tick_params(colors=QUIET, which="both", length=0, labelsize=9)
        ax.grid(color=RULE, linewidth=0.7)
        ax.set_axisbelow(True)
    return figure, axes


def title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK)


def label(ax: Axes, *, x: str | None = None, y: str | None = None) -> None:
    if x is not None:
        ax.set_xlabel(x, color=QUIET, fontsize=9)
    if y is not None:
        ax.set_ylabel(y, color=QUIET, fontsize=9)


def wrapped(text: str, width: int) -> str:
    """`text` in lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width))


def plain_numbers(axis: Any, ticks: Sequence[float] = COARSE) -> None:
    """1, 2, 5, 10 … on a logarithmic axis, not powers."""
    axis.set_major_locator(LogLocator(subs=ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def logarithmic(ax: Axes) -> None:
    """Makes the horizontal axis logarithmic, with at least two numbers on it."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    if high < SHORTEST * low:
        middle, half = math.sqrt(low * high), math.sqrt(SHORTEST)
        ax.set_xlim(middle / half, middle * half)
    low, high = ax.get_xlim()
    plain_numbers(ax.xaxis, FINE if high < LONG * low else COARSE if high < VAST * low else SPARSE)


def dots(ax: Axes, rows: list[Row]) -> None:
    """A line a shape: each contender's median as a dot on its quartiles; ours are filled, a bound is a stroke.

    Where a row has `graphs`, its dot is a square, beside the contender's other one.
    """
    names, shapes = unique(rows, "contender"), unique(rows, "shape")
    for j, name in enumerate(names):
        ours, bound = name == "jaxrnn", name in BOUNDS
        for row in pick(rows, contender=name):
            y = shapes.index(row["shape"]) + 0.7 * ((j + 0.5) / len(names) - 0.5)
            low, high = row.get("quartiles", [row["median"]] * 2)
            ax.plot([low, high], [y, y], color=colour(name, j), linewidth=2, solid_capstyle="round")
            face = colour(name, j) if ours else "white"
            squared = bool(row.get("graphs"))
            marker, size = ("|", 11) if bound else ("s" if squared else "o", 8 if ours else 6)
            text = f"_{name}" if squared else name  # the legend leaves out what begins so
            mark: dict[str, Any] = {"marker": marker, "markersize": size, "mfc": face, "mew": 1.8, "linestyle": ""}
            ax.plot(row["median"], y, color=colour(name, j), label=text, **mark)
    logarithmic(ax)
    ax.set_yticks(range(len(shapes)), shapes)
    ax.set_ylim(len(shapes) - 0.45, -0.55)
    for edge in range(1, len(shapes)):
        ax.axhline(edge - 0.5, color=RULE, linewidth=0.7)
    ax.grid(axis="y", visible=False)


def curve(ax: Axes, rows: list[Row], unit: str, name: str, line: str, **look: Any) -> None:
    """A line through what rows have under `unit`, by their `size`, on two logarithmic axes."""
    sizes = [row["size"] for row in rows]
    ax.plot(sizes, [row[unit] for row in rows], line, color=colour(name), label=name, **look)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plain_numbers(ax.yaxis)
    ax.set_xticks(sizes, map(str, sizes))
    ax.xaxis.set_minor_formatter(NullFormatter())


def grid(lines: Sequence[Sequence[Panel]], width: float = 4.2) -> Figure:
    """A figure of panels, all with one legend. A panel beside one of the same shapes does not name them again."""
    figure, axes = panels(len(lines[0]), [max(panel.height for panel in line) for line in lines], width=width)
    for here, line in zip(axes, lines, strict=True):
        for ax, panel in zip(here, line, strict=True):
            dots(ax, panel.rows)
            title(ax, panel.title)
            label(ax, x=panel.unit)
            if panel is not line[0] and unique(panel.rows, "shape") == unique(line[0].rows, "shape"):
                ax.tick_params(labelleft=False)
    legend(figure)
    return figure


def times(result: Result, whats: Sequence[str], titles: str) -> Figure:
    """Dots at every shape, a panel a cell, a line a kind of run; `titles` has `{cell}` and `{what}` in it."""
    cells = unique(result["rows"], "cell")
    return grid(
        [
            [
                Panel(titles.format(cell=TITLES[cell], what=what), pick(result["rows"], cell=cell, what=what))
                for cell in cells
            ]
            for what in whats
        ]
    )


def legend(figure: Figure) -> None:
    """One legend for all panels, under them, in lines of equal length."""
    found = {text: handle for ax in figure.axes for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    room = figure.get_figwidth() / (0.55 + 0.075 * max(map(len, found)))  # a handle and the longest text, in inches
    lines = math.ceil(len(found) / max(1, int(room)))
    columns = math.ceil(len(found) / lines)
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def save(figure: Figure, result: Result, path: Path) -> None:
    """Writes the figure with the machine and the date in it."""
    env = result["environment"]
    where = f"{machine(env)} · jax {env['versions']['jax']} · {env['date'][:10]}"
    figure.suptitle(where, x=0.995, ha="right", fontsize=8, color=QUIET)
    figure.savefig(path, dpi=130)
