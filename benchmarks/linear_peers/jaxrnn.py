"""jaxrnn itself."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

import jaxrnn
from benchmarks.linear_peers import OURS, Entrant
from benchmarks.linear_peers.problems import DELTA, LAYERS, Problem


def delta(q: jax.Array, k: jax.Array, v: jax.Array, decay: jax.Array, beta: jax.Array) -> jax.Array:
    return jaxrnn.matrix_scan(q, k, v, log_decay=decay, beta=beta)[1]


def outputs(cell: jaxrnn.Cell, params: Any, xs: jax.Array) -> jax.Array:
    return jaxrnn.unroll(cell, params, xs)[1]


def entrant(problem: Problem) -> Entrant:
    run: Callable[..., jax.Array]
    if problem.kind in LAYERS:
        run = partial(outputs, LAYERS[problem.kind](problem.cotangent.shape[-1]))
    else:
        run = delta if problem.kind == DELTA else lambda *args: jaxrnn.linear_scan(*args)[1]
    return Entrant(OURS, run, problem.arrays, batch_major=False)
