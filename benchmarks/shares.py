"""What is a layer's forward time made of: matrix products, transcendental functions, or the rest?

The forward pass takes turns with its matrix products alone, each in the place that it has in the layer, and with its
transcendental functions alone: those that the equations of a step name, on arrays of a step's shapes, once a step. What
neither accounts for is the rest: sums and products elementwise, memory traffic, the loop. It is negative where the
parts alone take longer than within the whole.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from benchmarks import plots
from benchmarks.harness import Question, cases, identity, main
from benchmarks.peers import Field, Program, products
from benchmarks.peers.jaxrnn import cell_of, contender, params_of
from benchmarks.problems import TITLES, Case
from benchmarks.results import MEAN, Ratios, Result, Row, Value, comparison, over, pick, unique, values
from benchmarks.timing import Call, round_robin, summary

WHOLE, PRODUCTS, TRANSCENDENTAL, REST = "jaxrnn", "matrix products", "transcendental functions", "the rest"
FUNCTIONS = {"logistic": lax.logistic, "tanh": lax.tanh}  # by the names of their primitives


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    rows = []
    for shape, case in cases(args):
        calls: dict[str, Call] = {
            WHOLE: contender(case).forward,
            PRODUCTS: products.contender(case).forward,
            TRANSCENDENTAL: functions_alone(case),
        }
        times = round_robin(calls, args.repeats, "forward")
        rows += [identity(case, shape, contender=name) | summary(samples) for name, samples in times.items()]
    return rows


def functions_of(case: Case) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the transcendental functions in one step of the case's cell."""
    cell, params = cell_of(case), jax.tree.map(jnp.asarray, params_of(case))

    def step(xs: jax.Array) -> Any:
        return cell.step(params, cell.init_carry(params, xs.shape[:-1]), cell.project(params, xs))

    equations = _equations(jax.make_jaxpr(step)(case.xs[0]).jaxpr)
    return [(str(it.primitive), it.outvars[0].aval.shape) for it in equations if str(it.primitive) in FUNCTIONS]


def _equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a program, and those of the programs inside."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in equation.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def functions_alone(case: Case) -> Program:
    """Each step takes the results of the one before, so that none can be left out and no memory has to be read."""
    found = functions_of(case)
    rng = np.random.default_rng(0)
    first = tuple(jnp.asarray(rng.standard_normal(shape), case.dtype) for _, shape in found)

    def run(first: tuple[jax.Array, ...]) -> Any:
        def step(_: Any, xs: tuple[jax.Array, ...]) -> Any:
            return tuple(FUNCTIONS[name](x) for (name, _), x in zip(found, xs, strict=True))

        return lax.fori_loop(0, case.shape.T, step, first)

    return Program(jax.jit(run), (first,))


def ratios(result: Result, cell: str) -> Ratios:
    """The shares: all of 1."""
    rows = pick(result["rows"], cell=cell)
    whole = values(rows, contender=WHOLE)
    parts = [over(values(rows, contender=name), whole) for name in (PRODUCTS, TRANSCENDENTAL)]
    rest = {at: _rest(*(part[at] for part in parts)) for at in (*whole, MEAN)}
    return dict(zip((PRODUCTS, TRANSCENDENTAL, REST), (*parts, rest), strict=True))


def _rest(*parts: Value) -> Value:
    return Value(*(1 - sum(numbers) for numbers in zip(*parts, strict=True)))


def show(result: Result) -> str:
    blocks = []
    for cell in unique(result["rows"], "cell"):
        shares = {f"share of {name}": at for name, at in ratios(result, cell).items()}
        blocks.append(comparison(f"{TITLES[cell]} forward, ms", pick(result["rows"], cell=cell), shares))
    return "\n\n".join(blocks)


def draw(result: Result) -> Figure:
    """The two parts end to end; what is missing to 100 % is the rest."""
    cells, shapes = unique(result["rows"], "cell"), unique(result["rows"], "shape")
    figure, axes = plots.panels(len(cells), [0.9 + 0.45 * len(shapes)], sharey=True, sharex=True)
    for ax, cell in zip(axes[0], cells, strict=True):
        ends = np.zeros(len(shapes))
        for name, at in list(ratios(result, cell).items())[:2]:
            shares = np.array([100 * at[shape].median for shape in shapes])
            ax.barh(range(len(shapes)), shares, 0.6, ends, color=plots.colour(name), label=name)
            ends += shares
        ax.axvline(100, color=plots.INK, linewidth=1, label="forward pass")
        ax.set_yticks(range(len(shapes)), shapes)
        ax.set_ylim(len(shapes) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        plots.title(ax, f"{TITLES[cell]}, forward")
        plots.label(ax, x="% of the time")
    plots.legend(figure)
    return figure


QUESTION = Question("shares", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
