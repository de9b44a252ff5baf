"""How much temporary memory does the compiled training program need, and what does `remat` save?

The figure is XLA's own: what a program allocates besides its arguments and results.
"""

import argparse
import math

from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.harness import Question, cases, identity, main
from benchmarks.peers import Contender, Field, jaxrnn
from benchmarks.problems import TITLES, Case
from benchmarks.results import Ratios, Result, Row, comparison, medians, over, pick, unique

OURS = "jaxrnn"
CARRIES = "jaxrnn, remat='carries'"
SEGMENTS = "jaxrnn, remat=√T"


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    rows = []
    for shape, case in cases(args):
        for contender in [*_ours(case), *field.contenders(case)]:
            if program := contender.program("training"):
                mebibytes = round(program.temporary_bytes() / 2**20, 3)
                rows.append(identity(case, shape, contender=contender.name, kind=contender.kind, median=mebibytes))
    return rows


def _ours(case: Case) -> list[Contender]:
    options = {OURS: None, CARRIES: "carries", SEGMENTS: math.isqrt(case.shape.T)}
    return [jaxrnn.contender(case, name=name, remat=remat) for name, remat in options.items()]


def ratios(result: Result, cell: str) -> Ratios:
    """Temporaries of each of our modes over flax's."""
    rows = pick(result["rows"], cell=cell)
    theirs = medians(rows, contender="flax linen")
    return {f"{ours} / flax linen": over(medians(rows, contender=ours), theirs) for ours in (OURS, CARRIES, SEGMENTS)}


def show(result: Result) -> str:
    return "\n\n".join(
        comparison(f"{TITLES[cell]} training, MiB", pick(result["rows"], cell=cell), ratios(result, cell))
        for cell in unique(result["rows"], "cell")
    )


def draw(result: Result) -> Figure:
    cells, shapes = unique(result["rows"], "cell"), unique(result["rows"], "shape")
    figure, axes = plots.panels(1, len(cells), width=5.2, sharey=True)
    for ax, cell in zip(axes[0], cells, strict=True):
        rows = pick(result["rows"], cell=cell)
        series = {name: medians(rows, contender=name) for name in unique(rows, "contender")}
        plots.bars(ax, shapes, series, log=True)
        plots.title(ax, f"{TITLES[cell]}, training")
    plots.label(axes[0, 0], y="MiB of temporaries")
    plots.legend(figure)
    return figure


QUESTION = Question("memory", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
