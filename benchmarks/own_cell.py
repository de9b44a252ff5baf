"""Is a cell that a user writes with `pointwise_cell` as fast as the built-in one of the same equations?

And what the same user would have written without: the step by hand under `jax.lax.scan`, all gates in one product, and
the inputs' product in the step or once for all steps before the loop, whichever is faster.
"""

import argparse
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, cases, compared, main, timed
from benchmarks.parity import Parity
from benchmarks.peers import Contender, Field, of_jax
from benchmarks.peers.jaxrnn import contender as built_in
from benchmarks.peers.jaxrnn import params_of
from benchmarks.problems import Case
from benchmarks.results import Ratios, Result, Row, least, over, pick, values

BUILT_IN, OWN = "jaxrnn, built-in", "jaxrnn, user's cell"
IN_STEP, BEFORE = "by hand, x W in the step", "by hand, x W before the loop"
WHATS = ("forward", "training")


class Carry(NamedTuple):
    """What a user's cell carries: `h`, and for an LSTM `c`."""

    h: jax.Array
    c: jax.Array


class State(NamedTuple):
    h: jax.Array


def lstm(params: Any, carry: Carry, gates: Any) -> tuple[Carry, jax.Array]:
    i, f, g, o = gates
    c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return Carry(h, c), h


def gru(params: Any, carry: State, gates: Any) -> tuple[State, jax.Array]:
    r, z, (n_x, n_h) = gates
    n = jnp.tanh(n_x + jax.nn.sigmoid(r) * (n_h + params["recurrent_bias"]))
    h = n + jax.nn.sigmoid(z) * (carry.h - n)
    return State(h), h


def elman(params: Any, carry: State, gates: Any) -> tuple[State, jax.Array]:
    h = jnp.tanh(gates[0])
    return State(h), h


# Each with its carry, its gates, and those that it needs in two parts.
OWN_CELLS: dict[str, tuple[Any, Any, tuple[str, ...], tuple[str, ...]]] = {
    "lstm": (lstm, Carry, ("i", "f", "g", "o"), ()),
    "gru": (gru, State, ("r", "z", "n"), ("n",)),
    "elman": (elman, State, ("h",), ()),
}


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    rows = []
    for shape, case in cases(args):
        contenders = [built_in(case, name=BUILT_IN), _own(case), _by_hand(case, IN_STEP), _by_hand(case, BEFORE)]
        parity = Parity(case)
        for contender in contenders:
            parity.check(contender)
        rows += timed(case, shape, contenders, WHATS, args.repeats)
    return rows


def _own(case: Case) -> Contender:
    pointwise, carry, gates, paired = OWN_CELLS[case.cell]
    params = params_of(case)
    cell = jaxrnn.pointwise_cell(pointwise, case.shape.H, carry, gates=gates, paired=paired)
    cell = cell._replace(init=lambda key, in_features: params)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs)[1]

    return of_jax(OWN, apply, params, case, kind="ours")


def _by_hand(case: Case, name: str) -> Contender:
    pointwise, carry, gates, paired = OWN_CELLS[case.cell]

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        W, U = (params[name].reshape(len(params[name]), -1) for name in ("kernel", "recurrent_kernel"))
        bias = params["bias"].reshape(1, -1)
        vectors = {name: it[None] for name, it in params.items() if it.ndim == 1}  # over the batch

        def project(rows: jax.Array) -> jax.Array:
            return rows @ W + bias

        def step(state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
            z, r = x if name == BEFORE else project(x), state.h @ U
            if not paired:
                return pointwise(vectors, state, jnp.split(z + r, len(gates), axis=-1))
            pairs = zip(gates, jnp.split(z, len(gates), axis=-1), jnp.split(r, len(gates), axis=-1), strict=True)
            return pointwise(vectors, state, tuple((z, r) if gate in paired else z + r for gate, z, r in pairs))

        zero = jnp.zeros((xs.shape[1], U.shape[0]), xs.dtype)
        first = carry(*(zero for _ in carry._fields))
        if name == BEFORE:
            xs = project(xs.reshape(-1, xs.shape[2])).reshape(*xs.shape[:2], -1)
        return jax.lax.scan(step, first, xs)[1]

    return of_jax(name, apply, params_of(case), case)


def ratios(result: Result, cell: str, what: str) -> Ratios:
    """A user's cell over the built-in one, and over the faster of the two loops by hand."""
    rows = pick(result["rows"], cell=cell, what=what)
    own = values(rows, contender=OWN)
    by_hand = least(row for row in rows if row["contender"] in (IN_STEP, BEFORE))
    return {f"{OWN} / {BUILT_IN}": over(own, values(rows, contender=BUILT_IN)), f"{OWN} / by hand": over(own, by_hand)}


def show(result: Result) -> str:
    return compared(result, WHATS, ratios)


def draw(result: Result) -> Figure:
    return plots.times(result, WHATS, "{cell}, {what}")


QUESTION = Question("own_cell", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
