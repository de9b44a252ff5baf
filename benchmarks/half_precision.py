"""What does bfloat16 gain, forward and in training, and where does PyTorch's stand?

Each library in its own way: in jaxrnn and Flax parameters stay float32 and the computation is in bfloat16; the layers
of the others are bfloat16 as a whole.
"""

import argparse
from dataclasses import replace

from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.harness import Question, cases, compared, identity, main
from benchmarks.parity import admitted
from benchmarks.peers import Field, jaxrnn
from benchmarks.results import Ratios, Result, Row, over, pick, unique, values
from benchmarks.timing import round_robin, summary

FLOAT32 = "jaxrnn, float32"
WHATS = ("forward", "training")


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    rows = []
    for shape, case in cases(args, "bfloat16"):
        deviations = admitted(case, field)
        contenders = [*deviations, jaxrnn.contender(replace(case, dtype="float32"), name=FLOAT32)]
        for what in WHATS:
            times = round_robin({c.name: getattr(c, what) for c in contenders}, args.repeats, what)
            for c in contenders:
                about = identity(case, shape, what=what, contender=c.name, deviation=deviations.get(c))
                rows.append(about | summary(times[c.name]))
    return rows


def ratios(result: Result, cell: str, what: str) -> Ratios:
    """Our time in bfloat16 over our own in float32 and over the others' in bfloat16."""
    rows = pick(result["rows"], cell=cell, what=what)
    others = [name for name in unique(rows, "contender") if name != "jaxrnn"]
    ours = values(rows, contender="jaxrnn")
    return {f"jaxrnn / {name}": over(ours, values(rows, contender=name)) for name in [FLOAT32, *others[:-1]]}


def show(result: Result) -> str:
    return compared(result, WHATS, ratios, "{cell} {what} in bfloat16, ms")


def draw(result: Result) -> Figure:
    return plots.times(result, WHATS, "{cell}, {what} in bfloat16")


QUESTION = Question("half_precision", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
