"""The look that all plots share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.environment import machine
from benchmarks.problems import TITLES
from benchmarks.results import Result, Row, digits, pick, unique

INK, QUIET, RULE = "#1f2933", "#66727f", "#d9dee4"
SEQUENCE = ("#d1344b", "#3f7cac", "#f0a202", "#6a994e", "#9b72cf", "#8d99a6")
COLOURS = {
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
    "products alone": "#8d99a6",
    "jaxrnn, float32": "#8d99a6",
    "jaxrnn, remat='carries'": "#e57f8f",
    "jaxrnn, remat=√T": "#f3bcc5",
}


def colour(name: str, position: int = 0) -> str:
    """A contender's own colour, or the next of a sequence."""
    return COLOURS.get(name, SEQUENCE[position % len(SEQUENCE)])


def panels(rows: int, columns: int, *, width: float = 4.2, height: float = 3.2, **options: Any) -> tuple[Figure, Any]:
    """A figure with a grid of axes, always two-dimensional."""
    figure = Figure(figsize=(width * columns, height * rows + 0.9), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
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


def plain_numbers(axis: Any) -> None:
    """1, 2, 5, 10 … on a logarithmic axis, not powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def dots(ax: Axes, rows: list[Row], shapes: Sequence[str]) -> None:
    """A row a shape: each contender's median as a dot on its quartiles; ours are filled, a bound is a stroke."""
    names = unique(rows, "contender")
    for j, name in enumerate(names):
        ours, bound = name == "jaxrnn", name == "products alone"
        mark: dict[str, Any] = {"marker": "|" if bound else "o", "markersize": 11 if bound else 8 if ours else 6}
        for row in pick(rows, contender=name):
            y = shapes.index(row["shape"]) + 0.7 * (j / max(1, len(names) - 1) - 0.5)
            ax.plot(row["quartiles"], [y, y], color=colour(name, j), linewidth=2, solid_capstyle="round")
            face = colour(name, j) if ours else "white"
            ax.plot(row["median"], y, color=colour(name, j), mfc=face, mew=1.8, linestyle="", label=name, **mark)
    ax.set_xscale("log")
    plain_numbers(ax.xaxis)
    ax.set_yticks(range(len(shapes)), shapes)
    ax.set_ylim(len(shapes) - 0.45, -0.55)
    for edge in range(1, len(shapes)):
        ax.axhline(edge - 0.5, color=RULE, linewidth=0.7)
    ax.grid(axis="y", visible=False)


def times(result: Result, whats: Sequence[str], titles: str) -> Figure:
    """Dots at every shape, a panel a cell, a line a kind of run; `titles` has `{cell}` and `{what}` in it."""
    cells, shapes = unique(result["rows"], "cell"), unique(result["rows"], "shape")
    figure, axes = panels(len(whats), len(cells), sharey=True)
    for line, what in zip(axes, whats, strict=True):
        for ax, cell in zip(line, cells, strict=True):
            dots(ax, pick(result["rows"], cell=cell, what=what), shapes)
            title(ax, titles.format(cell=TITLES[cell], what=what))
    for ax in axes[-1]:
        label(ax, x="milliseconds")
    legend(figure)
    return figure


def bars(ax: Axes, shapes: Sequence[str], series: dict[str, dict[str, float]], *, log: bool = False) -> None:
    """Grouped bars: a group a shape, a bar a series, each with its value above."""
    width = 0.84 / max(1, len(series))
    for i, (name, at) in enumerate(series.items()):
        here = [shape for shape in shapes if shape in at]
        xs = [shapes.index(shape) + (i - (len(series) - 1) / 2) * width for shape in here]
        drawn = ax.bar(xs, [at[shape] for shape in here], 0.9 * width, color=colour(name, i), label=name)
        ax.bar_label(drawn, [digits(at[shape]) for shape in here], fontsize=6, color=QUIET, padding=2, rotation=90)
    ax.set_xticks(range(len(shapes)), shapes)
    ax.grid(axis="x", visible=False)
    if log:
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
    ax.margins(y=0.2)


def legend(figure: Figure) -> None:
    """One legend for all panels, under them."""
    found = {text: handle for ax in figure.axes for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    room = figure.get_figwidth() / (0.55 + 0.075 * max(map(len, found)))  # a handle and the longest text, in inches
    columns = max(1, min(len(found), int(room)))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def save(figure: Figure, result: Result, path: Path) -> None:
    """Writes the figure with the machine and the date in it."""
    env = result["environment"]
    where = f"{machine(env)} · jax {env['versions']['jax']} · {env['date'][:10]}"
    figure.suptitle(where, x=0.995, ha="right", fontsize=8, color=QUIET)
    figure.savefig(path, dpi=130)
