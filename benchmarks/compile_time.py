"""How long does a layer take from the first call to a compiled program, beside Flax?

Tracing and compiling together; all of JAX's caches are emptied before each measurement.
"""

import argparse
import time

import jax
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import plots
from benchmarks.harness import Question, cases, identity, main
from benchmarks.peers import Field, Program, jaxrnn
from benchmarks.problems import TITLES
from benchmarks.results import Ratios, Result, Row, comparison, over, pick, unique, values
from benchmarks.timing import summary

WHATS = ("forward", "training")
FLAX = {"flax_linen", "flax_nnx"}
ROUNDS = 5  # compilation varies little, and takes long


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field = field.only(FLAX)
    rows = []
    for shape, case in cases(args):
        contenders = [jaxrnn.contender(case), *field.contenders(case)]
        for what in WHATS:
            programs = {c.name: program for c in contenders if (program := c.program(what))}
            times = _compile_times(programs, min(args.repeats, ROUNDS), what)
            rows += [identity(case, shape, what=what, contender=name) | summary(times[name]) for name in programs]
    return rows


def _compile_times(programs: dict[str, Program], rounds: int, label: str) -> dict[str, list[float]]:
    """Milliseconds of each program in each round, in turns."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in tqdm(range(rounds), label, leave=False, unit="round"):
        for name, program in programs.items():
            jax.clear_caches()
            start = time.perf_counter()
            program.function.lower(*program.args).compile()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def ratios(result: Result, cell: str, what: str) -> Ratios:
    """Our time over each Flax's."""
    rows = pick(result["rows"], cell=cell, what=what)
    ours, *others = unique(rows, "contender")
    return {f"{ours} / {name}": over(values(rows, contender=ours), values(rows, contender=name)) for name in others}


def show(result: Result) -> str:
    return "\n\n".join(
        comparison(
            f"{TITLES[cell]} {what}, ms to compile",
            pick(result["rows"], cell=cell, what=what),
            ratios(result, cell, what),
        )
        for cell in unique(result["rows"], "cell")
        for what in WHATS
    )


def draw(result: Result) -> Figure:
    return plots.times(result, WHATS, "{cell}, {what}, to compile")


QUESTION = Question("compile_time", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
