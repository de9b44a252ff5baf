"""A scan in the style of S5: pairs of a diagonal complex matrix and an input, joined in a tree, the batch mapped.

S5 comes in no package. This is the pattern that its paper publishes (Smith, Warrington & Linderman 2023, "Simplified
state space layers for sequence modeling"), with the one matrix repeated at every step.
"""

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.linear_peers import Entrant, swapped
from benchmarks.linear_peers.problems import COMPLEX, Problem

Step = tuple[jax.Array, jax.Array]


def join(first: Step, second: Step) -> Step:
    return second[0] * first[0], second[0] * first[1] + second[1]


def scan(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a [N]`, `b [B, T, N]`."""
    return jax.vmap(lambda b: lax.associative_scan(join, (jnp.broadcast_to(a, b.shape), b))[1])(b)


def entrants(problem: Problem) -> list[Entrant]:
    if problem.kind != COMPLEX:
        return []
    a, b = problem.arrays
    return [Entrant("S5-style associative scan", scan, (a[0, 0], swapped(b)))]
