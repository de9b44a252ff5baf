"""The plot: a line of panels a cell, a panel a dtype and a kind of run, in it a line a shape and a dot a contender."""

from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.accelerator import roofline
from benchmarks.accelerator.jobs import DTYPES, NAMES
from benchmarks.accelerator.roofline import PEAKS, Peaks
from benchmarks.accelerator.trial import WHATS
from benchmarks.results import Result, Row, pick, unique

BOUND = "bound"


def draw(result: Result) -> Figure:
    """Squares are times with XLA's options for CUDA graphs; a stroke is the least time that the device could need."""
    peaks = roofline.peaks(result["rows"])
    rows = [row for row in result["rows"] if row["cell"] != PEAKS]
    if not rows:
        return _empty()
    dtypes = [dtype for dtype in DTYPES if pick(rows, dtype=dtype)]
    columns = [(dtype, what) for dtype in dtypes for what in WHATS]
    panels = [[_panel(pick(rows, cell=cell), *column, peaks) for column in columns] for cell in unique(rows, "cell")]
    figure, axes = plots.panels(len(columns), [max(it.height for it in line) for line in panels])
    for here, line in zip(axes, panels, strict=True):
        for ax, panel in zip(here, line, strict=True):
            if not panel.rows:
                ax.set_visible(False)
                continue
            plots.dots(ax, panel.rows)
            plots.title(ax, panel.title)
            plots.label(ax, x=panel.unit)
    plots.legend(figure)
    return figure


def _panel(rows: list[Row], dtype: str, what: str, peaks: Peaks | None) -> plots.Panel:
    here = pick(rows, dtype=dtype, what=what)
    if peaks:
        bounds = {row["shape"]: roofline.bound(row, peaks) for row in here}
        here = [*here, *({"contender": BOUND, "shape": shape, "median": ms} for shape, ms in bounds.items())]
    unit = "milliseconds" + (" (squares: graphs)" if pick(here, graphs=True) else "")
    return plots.Panel(f"{NAMES[rows[0]['cell']]}, {what}, {dtype}", here, unit)


def _empty() -> Figure:
    figure, axes = plots.panels(1, [1.0])
    plots.title(axes[0, 0], "nothing was measured")
    return figure
