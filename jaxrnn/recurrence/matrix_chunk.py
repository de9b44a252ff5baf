"""One chunk of a recurrence with a matrix for a state, for one head, in operations that compilers of kernels know.

All arrays have two axes. There are no slices, and each sum over a range of steps is a product with a matrix of ones and
zeros, or a sum under a mask. Since no sum of log decays is the difference of two others, none loses digits.

With a decay per channel the pairs of steps are taken by halves of the chunk, then by halves of these halves, and so on.
Between two halves a decay is the product of the decays before and after the first step of the later half, neither of
which is above 1 (Yang et al. 2024, "Gated linear attention transformers with hardware-efficient training", do so once).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.chunkwise import SMALL, Inputs, combined
from jaxrnn.types import Array


class Steps(NamedTuple):
    """Masks of pairs of a chunk's steps, in which the row is the later step.

    Attributes:
      row: int32 `[C, C]`, the number of the row.
      column: that of the column.
      sees: bool `[C, C]`, True where the two belong to the same sequence, and the row is not before the column.
      begun: `[C, 1]`, how many sequences began in this chunk up to each step; None: there are no resets.
      total: `[1, 1]`, how many in all.
    """

    row: Array
    column: Array
    sees: Array
    begun: Any = None
    total: Any = None


class Decays(NamedTuple):
    """Says what decay leaves of the state and of each step.

    Attributes:
      since: of the state, at each step, `[C, K]` or `[C, 1]`; from the start of the chunk or of the step's sequence.
      until: of each step, at the end of the chunk; likewise.
      whole: of the state, at the end of the chunk, `[K, 1]` or `[1, 1]`.
      pairs: `(x, k) -> Σ x[i] k[j] decay` over channels where `sees[i, j]`, and 0 elsewhere.
    """

    since: Array
    until: Array
    whole: Array
    pairs: Callable[[Array, Array], Array]


def chunk(state: Array, x: Inputs, fresh: Array | None) -> tuple[Array, Array]:
    """Runs the steps of one chunk.

    Args:
      state: `[K, V]`.
      x: arrays `[C, K]` and `[C, V]`, C a power of two; `log_decay` may be `[1, C]`, and `beta` is. `resets` is 1 or 0
        in the dtype of the others, `[1, C]`.
      fresh: `[K, V]`, the state that a reset starts from; None: zero.

    Returns:
      `(state, y)`: the state after the chunk, and the outputs `[C, V]`.
    """
    size = x.q.shape[0]
    row, column = (lax.broadcasted_iota(jnp.int32, (size, size), axis) for axis in (0, 1))
    steps = Steps(row, column, row >= column)
    least = math.log(jnp.finfo(state.dtype).tiny)  # as much as forgets everything; infinity times 0 is NaN
    if x.log_decay is not None:
        x = x._replace(log_decay=jnp.where(x.log_decay < least, least, x.log_decay))
    broken = None
    if x.resets is not None:
        begun = jnp.where(steps.sees, x.resets, 0).sum(1, keepdims=True)
        sees = steps.sees & (begun == turned(begun))
        steps = steps._replace(sees=sees, begun=begun, total=x.resets.sum(1, keepdims=True))
        x, state, broken = _mended(x, state, steps)
    x = x if x.beta is None else x._replace(beta=turned(x.beta))
    decays = _decays(x, steps)

    def within(mask: Any, a: Array) -> Array:
        return jnp.where(jnp.broadcast_to(mask, a.shape) > 0, a, 0)

    def seen(a: Array) -> Array:
        a = a * decays.since
        if steps.begun is None:
            return a @ state
        old = within(1 - steps.begun, a) @ state
        return old if fresh is None else old + within(steps.begun, a) @ fresh

    def earlier(a: Array, k: Array) -> Array:
        return jnp.where(row > column, decays.pairs(a, k), 0)

    start = state
    if steps.total is not None:
        start = within(1 - steps.total, state)
        start = start if fresh is None else start + within(steps.total, fresh)
    after, y = combined(x, seen, decays.pairs, earlier, inverse, decays.whole * start, decays.until)
    if broken is not None:
        y = jnp.where(jnp.broadcast_to(broken[0], y.shape) > 0, jnp.nan, y)
        after = jnp.where(jnp.broadcast_to(broken[1], after.shape) > 0, jnp.nan, after)
    return after, y


def turned(a: Array) -> Array:
    """Makes a column of a row, or a row of a column, by a mask, because compilers do not transpose a single row."""
    size = max(a.shape)
    same = lax.broadcasted_iota(jnp.int32, (size, size), 0) == lax.broadcasted_iota(jnp.int32, (size, size), 1)
    return jnp.where(same, a, 0).sum(1 if a.shape[0] == 1 else 0, keepdims=True)


def _mended(x: Inputs, state: Array, steps: Steps) -> tuple[Inputs, Array, tuple[Array, Array]]:
    """Returns inputs and state with non-finite entries as 0, and where outputs and the last state must be NaN.

    It is `chunkwise._mended` of one chunk: in a product of matrices NaN would cross a reset.
    """

    def bad(a: Array) -> Array:
        return jnp.where(a - a == 0, 0, jnp.ones_like(a)).sum(1, keepdims=True)

    def mended(a: Array) -> Array:
        return jnp.where(a - a == 0, a, 0)

    given = {name: a for name, a in x._asdict().items() if a is not None and name != "resets"}
    first, *others = (bad(turned(a) if a.shape[0] == 1 else a) for a in given.values())
    lost = sum(others, first)
    across = turned(lost)
    of_state = bad(state).sum(0, keepdims=True)
    outputs = jnp.where(steps.sees, across, 0).sum(1, keepdims=True) + jnp.where(steps.begun > 0, 0, of_state)
    last = jnp.where(steps.begun == steps.total, lost, 0).sum(0, keepdims=True)
    last = last + jnp.where(steps.total > 0, 0, of_state)
    return x._replace(**jax.tree.map(mended, given)), mended(state), (outputs, last)


def _decays(x: Inputs, steps: Steps) -> Decays:
    row, column, sees, begun, total = steps
    after, dtype = column > row, x.q.dtype
    ended = 1 if begun is None else jnp.where(begun == total, jnp.ones_like(begun), 0)
    if x.log_decay is None:
        one = jnp.ones((1, 1), dtype)
        return Decays(one, ended * one, one, lambda a, k: jnp.where(sees, a @ k.T, 0))
    d = x.log_decay
    if d.shape[0] == 1:
        since, until = (jnp.where(mask, d, 0).sum(1, keepdims=True) for mask in (sees, after))
        whole = (d if begun is None else jnp.where(turned(begun) == total, d, 0)).sum(1, keepdims=True)
        # The sum between two steps is that of the row's log decays where the column is earlier.
        gaps = _summed(row >= column, _ones(row > column, dtype) * turned(d))
        decay = jnp.where(sees, jnp.exp(gaps), 0)
        return Decays(jnp.exp(since), ended * jnp.exp(until), jnp.exp(whole), lambda a, k: (a @ k.T) * decay)
    since, until = (jnp.exp(_summed(mask, d)) for mask in (sees, after))
    held = d if begun is None else jnp.where(jnp.broadcast_to(begun, d.shape) == total, d, 0)
    return Decays(since, ended * until, turned(jnp.exp(held.sum(0, keepdims=True))), _pairs(d, steps))


def _pairs(d: Array, steps: Steps) -> Callable[[Array, Array], Array]:
    row, column, sees, *_ = steps
    levels = []
    for half in (2**n for n in range((d.shape[0] - 1).bit_length())):
        middle = (row & -(2 * half)) + half  # the first step of the later half
        later = (row & half) > 0
        span = (later & (column >= middle) & (column <= row)) | (~later & (column > row) & (column < middle))
        decay = jnp.exp(_summed(span, d))
        is_later = (lax.broadcasted_iota(jnp.int32, d.shape, 0) & half) > 0
        both = sees & ((row & -(2 * half)) == (column & -(2 * half)))
        levels.append((jnp.where(is_later, decay, 0), jnp.where(is_later, 0, decay), both))

    def pairs(a: Array, k: Array) -> Array:
        total = jnp.where(row == column, (a * k).sum(1, keepdims=True), 0)
        for before, after, both in levels:
            total = total + jnp.where(both, (a * before) @ (k * after).T, 0)
        return total

    return pairs


def _summed(mask: Array, a: Array) -> Array:
    """Returns the sum of the rows of `a` that `mask [i, rows]` has, for each `i`; exact up to rounding."""
    return jnp.matmul(_ones(mask, a.dtype), a, precision=lax.Precision.HIGHEST)


def _ones(mask: Array, dtype: Any) -> Array:
    """Returns a mask as numbers: Triton cannot lay out flags for a product."""
    return jnp.where(mask, 1, jnp.zeros(mask.shape, dtype))


@jax.custom_jvp
def inverse(A: Array) -> Array:
    """Returns `chunkwise.inverse` of one matrix without slices: blocks are what masks leave, so products are larger."""
    n = A.shape[0]
    row, column = (lax.broadcasted_iota(jnp.int32, (n, n), axis) for axis in (0, 1))

    def diagonal(size: int) -> Array:
        return (row & -size) == (column & -size)

    power = -jnp.where(diagonal(SMALL), A, 0)
    product, done = jnp.where(row == column, 1, power), 2
    while done < SMALL:
        power = power @ power
        product, done = product + product @ power, 2 * done
    size = SMALL
    while size < n:
        corners = jnp.where(diagonal(2 * size) & ~diagonal(size), A, 0)
        product, size = product - product @ (corners @ product), 2 * size
    return product


@inverse.defjvp
def _inverse_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    inverted = inverse(*primals)
    return inverted, -inverted @ tangents[0] @ inverted
