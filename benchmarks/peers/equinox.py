"""Equinox: a cell in lax.scan for one sequence, vmapped over the batch, as its documentation has it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.peers import Contender, NotOffered, of_jax
from benchmarks.problems import GATES, Case

CELLS = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}


def contender(case: Case) -> Contender:
    if case.cell not in CELLS:
        raise NotOffered("it has no such cell")
    cell = CELLS[case.cell](case.shape.D, case.shape.H, dtype=jnp.dtype(case.dtype), key=jax.random.key(0))
    kernel, recurrent, bias = case.joined(GATES[case.cell])
    values = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias": bias}
    if case.cell == "gru":
        values["bias_n"] = case.params["recurrent_bias"]
    arrays = [jnp.asarray(value, case.dtype) for value in values.values()]
    cell = eqx.tree_at(lambda c: [getattr(c, name) for name in values], cell, arrays)

    def sequence(cell: Any, xs: jax.Array) -> jax.Array:
        zeros = jnp.zeros(cell.hidden_size, xs.dtype)

        def step(state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
            state = cell(x, state)
            return state, state[0] if case.cell == "lstm" else state

        return lax.scan(step, (zeros, zeros) if case.cell == "lstm" else zeros, xs)[1]

    return of_jax("equinox", jax.vmap(sequence, in_axes=(None, 1), out_axes=1), cell, case)
