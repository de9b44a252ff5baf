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
from benchmarks.results import Ratios, Result, Row, comparison, over, pick, unique, values

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
    theirs = values(rows, contender="flax linen")
    return {f"{ours} / flax linen": over(values(rows, contender=ours), theirs) for ours in (OURS, CARRIES, SEGMENTS)}


def show(result: Result) -> str:
    return "\n\n".join(
        comparison(f"{TITLES[cell]} training, MiB", pick(result["rows"], cell=cell), ratios(result, cell))
        for cell in unique(result["rows"], "cell")
    )


def draw(result: Result) -> Figure:
    rows = result["rows"]
    titles = {cell: f"{TITLES[cell]}, training" for cell in unique(rows, "cell")}
    return plots.grid([[plots.Panel(titles[cell], pick(rows, cell=cell), "MiB of temporaries") for cell in titles]])


QUESTION = Question("memory", __doc__, measure, show, draw, timed=False)

if __name__ == "__main__":
    main(QUESTION)
