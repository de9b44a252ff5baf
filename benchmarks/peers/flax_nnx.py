"""flax.nnx: OptimizedLSTMCell, GRUCell and SimpleCell in nnx.RNN, split into parameters and the rest, then jitted."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.peers import Contender, of_jax
from benchmarks.problems import GATES, Case

CELLS = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "elman": nnx.SimpleCell}


def contender(case: Case) -> Contender:
    cell = CELLS[case.cell](case.shape.D, case.shape.H, dtype=jnp.dtype(case.dtype), rngs=nnx.Rngs(0))
    kernel, recurrent, bias = case.joined(GATES[case.cell])
    cell.dense_i.kernel = nnx.Param(jnp.asarray(kernel))
    cell.dense_h.kernel = nnx.Param(jnp.asarray(recurrent))
    biased = cell.dense_h if case.cell == "lstm" else cell.dense_i
    biased.bias = nnx.Param(jnp.asarray(bias))
    split: Any = nnx.split(nnx.RNN(cell, time_major=True), nnx.Param, ...)
    graph, params, rest = split

    # A SimpleCell keeps its carry in the dtype of the computation, but does not begin so.
    carry = jnp.zeros((case.shape.B, case.shape.H), case.dtype) if case.cell == "elman" else None

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        # Random numbers for a carry of zeros are made here because the module's own cannot be used under jit.
        return nnx.merge(graph, params, rest)(xs, initial_carry=carry, rngs=nnx.Rngs(0))

    return of_jax("flax nnx", apply, params, case)
