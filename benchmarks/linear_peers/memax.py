"""memax: its semigroups in its associative scan, and its LRU layer; it knows one sequence, so the batch is mapped.

The layer's term `D ⊙ x` has a vector where jaxrnn's has a matrix, which is diagonal here. Its delta rules multiply the
state on the side of the values, where the published ones do on the side of the keys, so the recurrence alone takes
part: each step's matrices made from the same inputs as ours, and read out likewise.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from memax.equinox.scans import semigroup_scan
from memax.equinox.semigroups.gdn import GDNSemigroup
from memax.equinox.semigroups.lru import LRU as Layer
from memax.equinox.semigroups.s6 import S6Semigroup

from benchmarks.linear_peers import Entrant, swapped
from benchmarks.linear_peers.problems import DELTA, LRU, REAL, Problem

NAME = "memax"


def entrants(problem: Problem) -> list[Entrant]:
    if problem.kind == LRU:
        return [_lru(*problem.arrays)]
    if problem.kind not in (REAL, DELTA):
        return []
    return [Entrant(NAME, scan if problem.kind == REAL else delta, tuple(map(swapped, problem.arrays)))]


def scan(a: jax.Array, b: jax.Array) -> jax.Array:
    semigroup = S6Semigroup(b.shape[-1])

    def sequence(a: jax.Array, b: jax.Array) -> jax.Array:
        return semigroup_scan(semigroup, semigroup.initialize_carry(), (a, b))[1]

    return jax.vmap(sequence)(a, b)


def delta(q: jax.Array, k: jax.Array, v: jax.Array, decay: jax.Array, beta: jax.Array) -> jax.Array:
    semigroup = GDNSemigroup(k.shape[-1])

    def sequence(q: jax.Array, k: jax.Array, v: jax.Array, decay: jax.Array, beta: jax.Array) -> jax.Array:
        scaled = beta[:, None, None] * k[:, :, None]
        transition = jnp.exp(decay)[:, None, None] * (jnp.eye(k.shape[-1]) - scaled * k[:, None])
        states = semigroup_scan(semigroup, semigroup.initialize_carry(), (transition, scaled * v[:, None]))[1]
        return jnp.einsum("tk,tkv->tv", q, states)

    return jax.vmap(jax.vmap(sequence, in_axes=1, out_axes=1))(q, k, v, decay, beta)  # the batch, and the heads


def _lru(params: dict[str, np.ndarray], xs: np.ndarray) -> Entrant:
    total, _, width = xs.shape
    starts = jnp.zeros(total, bool)
    B, C = params["kernel"], params["readout"]
    theirs = {
        "nu_log": params["nu"],
        "theta_log": params["theta"],
        "gamma_log": params["gamma"],
        "B_re": B[:, 0].T,
        "B_im": B[:, 1].T,
        "C_re": C[:, 0].T,
        "C_im": C[:, 1].T,
        "D": np.diag(params["skip"]),
    }
    layer = Layer(width, width, jax.random.key(0))
    names = tuple(theirs)

    def run(params: dict[str, jax.Array], xs: jax.Array) -> jax.Array:
        filled: Any = eqx.tree_at(lambda it: [getattr(it, n) for n in names], layer, [params[n] for n in names])
        return jax.vmap(lambda x: filled(filled.initialize_carry(), (x, starts))[1])(xs)

    return Entrant(NAME, run, (theirs, swapped(xs)), note="has a vector where jaxrnn has the matrix D")
