"""The floor: a layer's matrix products and nothing else, each in the place that it has in the layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.peers import Contender, Program
from benchmarks.problems import GATES, Case

NAME = "products alone"


def contender(case: Case) -> Contender:
    """Forward: the projection, and T products in a loop. Training: the loop's transposes and three bulk products too.

    Each is a program of its own, so that no product pays for the temporary memory of another.
    """
    kernel, recurrent, _ = (jnp.asarray(a, case.dtype) for a in case.joined(GATES[case.cell]))
    rows = case.shape.T * case.shape.B
    xs = jnp.asarray(case.xs, case.dtype).reshape(rows, case.shape.D)
    states = jnp.asarray(case.cotangent, case.dtype)
    cotangents = jnp.concatenate([states] * len(GATES[case.cell]), -1)
    flat_states, flat_cotangents = states.reshape(rows, -1), cotangents.reshape(rows, -1)
    forward = [Program(jax.jit(_product), (xs, kernel)), Program(jax.jit(_loop), (states, recurrent))]
    backward = [
        Program(jax.jit(_loop), (cotangents, jnp.array(recurrent.T))),
        Program(jax.jit(_outer), (flat_states, flat_cotangents)),
        Program(jax.jit(_outer), (xs, flat_cotangents)),
        Program(jax.jit(_product), (flat_cotangents, jnp.array(kernel.T))),
    ]

    def run(programs: list[Program]) -> None:
        for program in programs:
            program()

    return Contender(NAME, "floor", lambda: run(forward), lambda: run(forward + backward), np.asarray, case.cell)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _outer(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def _loop(rows: jax.Array, kernel: jax.Array) -> jax.Array:
    """One product a step; their sum keeps each of them alive."""

    def step(total: jax.Array, row: jax.Array) -> tuple[jax.Array, Any]:
        return total + _product(row, kernel), None

    return lax.scan(step, jnp.zeros((rows.shape[1], kernel.shape[1]), jnp.float32), rows)[0]
