"""The plot of quality against speed, in which each cell has its name."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.catalogue.quality import CHARACTERS
from benchmarks.catalogue.tables import Line, lines
from benchmarks.results import Result

WIDTH, HEIGHT = 13.0, 9.5
DOT, MARGIN, FURTHEST, DIRECTIONS = 4, 1, 240, 24  # three lengths in pixels, and a number


def draw(result: Result) -> Figure:
    found = [it for it in lines(result, CHARACTERS) if it.time is not None and it.characters is not None]
    figure, axes = plots.panels(1, [HEIGHT], width=WIDTH)
    ax = axes[0, 0]
    kinds = sorted({it.structure for it in found})
    for it in found:
        colour = plots.SEQUENCE[kinds.index(it.structure)]
        ax.plot(
            it.time, it.characters, "o", color=colour, markersize=5, zorder=4, label=it.structure.replace("_", ", ")
        )
    plots.title(ax, "How well each cell reads a text after a short training, and how fast a layer of it trains")
    plots.label(ax, x="milliseconds of value and gradient (less is better)", y="bits a character (less is better)")
    if found:
        plots.logarithmic(ax)
        plots.legend(figure)
        named(figure, ax, found)
    return figure


def named(figure: Figure, ax: Axes, found: list[Line]) -> None:
    """Writes each cell's name where nothing else is, as near to its dot as there is room, with a line to it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # before it, nothing has a place
    places = ax.transData.transform([(it.time, it.characters) for it in found])
    taken = np.concatenate([places - DOT, places + DOT], axis=1)  # left, bottom, right, top
    look = {"fontsize": 8, "color": plots.INK, "ha": "center", "va": "center", "textcoords": "offset points"}
    line = {"arrowstyle": "-", "color": plots.QUIET, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4}
    for it, place in zip(found, places, strict=True):
        text = ax.annotate(it.cell, (it.time, it.characters), (0, 0), arrowprops=line, **look)
        extent = text.get_window_extent(canvas.get_renderer())
        half = np.array([extent.width, extent.height]) / 2 + MARGIN
        middles = place + around(half)
        boxes = np.concatenate([middles - half, middles + half], axis=1)
        met = (boxes[:, None, :2] < taken[:, 2:]) & (boxes[:, None, 2:] > taken[:, :2])
        first = int(met.all(-1).any(-1).argmin())  # the nearest one that meets nothing
        taken = np.concatenate([taken, boxes[first : first + 1]])
        text.set_position(tuple(72 / figure.dpi * (middles[first] - place)))


def around(half: np.ndarray) -> np.ndarray:
    """Places of a name's middle around its dot, the nearest first; `half` of its width and height."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distances = np.arange(DOT, FURTHEST, DOT)
    return (directions * (distances[:, None, None] + half)).reshape(-1, 2)
