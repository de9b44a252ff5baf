"""How fast is a layer, forward and in training, beside the same layer in other libraries?

Training is the gradient with respect to parameters and inputs. All contenders compute the same function of the same
random numbers, which is checked first, then take turns in one process. "products alone" is a layer's matrix products
and nothing else: what no implementation on the same products can beat by much.
"""

import argparse

from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.harness import Question, cases, compared, identity, main
from benchmarks.parity import admitted
from benchmarks.peers import Field, products
from benchmarks.problems import TITLES
from benchmarks.results import LEGEND, Ratios, Result, Row, least, over, pick, values
from benchmarks.timing import round_robin, summary

WHATS = ("forward", "training")


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    rows = []
    for shape, case in cases(args):
        deviations = admitted(case, field)
        contenders = [*deviations, products.contender(case)]
        for what in WHATS:
            times = round_robin({c.name: c.call(what) for c in contenders}, args.repeats, what)
            for c in contenders:
                about = identity(case, shape, what=what, contender=c.name, kind=c.kind, note=c.note)
                rows.append(about | {"deviation": deviations.get(c)} | summary(times[c.name]))
    return rows


def ratios(result: Result, cell: str, what: str) -> Ratios:
    """Our time over the best JAX peer's, PyTorch's and the products' alone."""
    rows = pick(result["rows"], cell=cell, what=what)
    against = {
        "best JAX peer": least(pick(rows, kind="jax")),
        "torch": values(rows, kind="torch"),
        "products alone": values(rows, kind="floor"),
    }
    return {f"jaxrnn / {name}": over(values(rows, kind="ours"), theirs) for name, theirs in against.items()}


def show(result: Result) -> str:
    notes = sorted(
        {f"{row['contender']}, {TITLES[row['cell']]}: {row['note']}." for row in result["rows"] if row["note"]}
    )
    return "\n\n".join(
        [compared(result, WHATS, ratios), "\n".join([f"Medians, and quartiles in brackets. {LEGEND}", *notes])]
    )


def draw(result: Result) -> Figure:
    return plots.times(result, WHATS, "{cell}, {what}")


QUESTION = Question("against_peers", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
