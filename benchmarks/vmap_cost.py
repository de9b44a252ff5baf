"""What does training cost when `vmap` makes the batch, instead of a batch axis?

Time, and temporary memory of the compiled program. Both ways are checked to give the same numbers first.
"""

import argparse
from typing import Any

import jax
from matplotlib.figure import Figure

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, cases, identity, main
from benchmarks.parity import Parity
from benchmarks.peers import Contender, Field, of_jax
from benchmarks.peers.jaxrnn import cell_of, params_of
from benchmarks.peers.jaxrnn import contender as batched
from benchmarks.problems import TITLES, Case
from benchmarks.results import Ratios, Result, Row, comparison, over, pick, unique, values
from benchmarks.timing import round_robin, summary

AXIS, VMAP = "batch axis", "vmap"
WHATS = {"time": "ms", "temporaries": "MiB"}


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    rows = []
    for shape, case in cases(args):
        contenders = [batched(case, name=AXIS), _mapped(case)]
        parity = Parity(case)
        for contender in contenders:
            parity.check(contender)
        times = round_robin({c.name: c.training for c in contenders}, args.repeats, "training")
        for c in contenders:
            rows.append(identity(case, shape, contender=c.name, what="time") | summary(times[c.name]))
            if program := c.program("training"):
                about = identity(case, shape, contender=c.name, what="temporaries")
                rows.append(about | {"median": round(program.temporary_bytes() / 2**20, 3)})
    return rows


def _mapped(case: Case) -> Contender:
    cell = cell_of(case)

    def sequence(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs)[1]

    return of_jax(VMAP, jax.vmap(sequence, in_axes=(None, 1), out_axes=1), params_of(case), case, kind="ours")


def ratios(result: Result, cell: str, what: str) -> Ratios:
    rows = pick(result["rows"], cell=cell, what=what)
    return {f"{VMAP} / {AXIS}": over(values(rows, contender=VMAP), values(rows, contender=AXIS))}


def show(result: Result) -> str:
    return "\n\n".join(
        comparison(
            f"{TITLES[cell]} training, {what}, {unit}",
            pick(result["rows"], cell=cell, what=what),
            ratios(result, cell, what),
        )
        for cell in unique(result["rows"], "cell")
        for what, unit in WHATS.items()
    )


def draw(result: Result) -> Figure:
    def panel(cell: str, what: str) -> plots.Panel:
        return plots.Panel(f"{TITLES[cell]}, training, {what}", pick(result["rows"], cell=cell, what=what), WHATS[what])

    return plots.grid([[panel(cell, what) for cell in unique(result["rows"], "cell")] for what in WHATS])


QUESTION = Question("vmap_cost", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
