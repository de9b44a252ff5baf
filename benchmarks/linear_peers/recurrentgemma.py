"""recurrentgemma: its linear scan, and its RG-LRU, which has gates in blocks; here one block, a full matrix.

Off the TPU its scan is JAX's loop. Left to its defaults it unrolls nothing; its layer has it unroll 128 steps, which on
the CPU takes longer to compile, and to run.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from recurrentgemma.jax import RGLRU, linear_scan

from benchmarks.linear_peers import Entrant, swapped
from benchmarks.linear_peers.problems import REAL, RG_LRU, Problem

NAME = "recurrentgemma"


def scan(a: jax.Array, b: jax.Array) -> jax.Array:
    return linear_scan(b, a)[0]


def entrants(problem: Problem) -> list[Entrant]:
    if problem.kind == REAL:
        return [Entrant(NAME, scan, tuple(map(swapped, problem.arrays)), note="its loop as it is by default")]
    return [_rg_lru(*problem.arrays)] if problem.kind == RG_LRU else []


def _rg_lru(params: dict[str, np.ndarray], xs: np.ndarray) -> Entrant:
    total, batch, width = xs.shape
    layer = RGLRU(width, num_heads=1)
    positions = jnp.tile(jnp.arange(total), (batch, 1))

    def run(params: Any, xs: jax.Array) -> jax.Array:
        return layer.apply({"params": params}, xs, positions, return_cache=False)[0]

    a_gate, input_gate = ({"w": params["kernel"][None, :, g], "b": params["bias"][None, g]} for g in range(2))
    theirs = {"a_param": params["decay"], "a_gate": a_gate, "input_gate": input_gate}
    return Entrant(NAME, run, (theirs, swapped(xs)), note="its loop is unrolled by 128 steps")
