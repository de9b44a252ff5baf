"""Runs `Sₜ = (I − βₜ kₜ kₜᵀ)(αₜ ⊙ Sₜ₋₁) + βₜ kₜ vₜᵀ` in two ways: step by step, and chunk by chunk.

Inside a chunk all states follow from the one before it, `S`. With `bᵢ` the sum of log decays since `S`, step `i` adds
`kᵢ uᵢᵀ`, where `uᵢ = βᵢ (vᵢ − (kᵢ ⊙ exp bᵢ)ᵀ S − Σ (kᵢ ⊙ exp(bᵢ − bⱼ))ᵀ kⱼ uⱼ)` over the steps `j` before: a triangular
system, which products of matrices solve for a whole chunk (Yang et al. 2024, "Parallelizing linear transformers with
the delta rule over sequence length"; without a delta rule `uᵢ = vᵢ`).

More generally a step reads along one vector and erases along another, `Sₜ = (I − eₜ rₜᵀ)(αₜ ⊙ Sₜ₋₁) + kₜ vₜᵀ`. Step `i`
then adds `kᵢ vᵢᵀ − eᵢ wᵢᵀ`, where the `wᵢ` that it reads solves a system of the same kind.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.shapes import align
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

SMALL = 16  # steps of a block in which decays per channel are exponentiated pair by pair


class Inputs(NamedTuple):
    """The inputs of each step.

    Attributes:
      q: `[T, *batch, heads, K]`.
      k: like `q`.
      v: `[T, *batch, heads, V]`.
      log_decay: `[T, *batch, heads, K]`; the last axis may be 1. None: nothing decays.
      beta: `[T, *batch, heads, 1]`; None: `k vᵀ` is added as it is.
      read: r, like `q`; None: nothing is read and erased. It requires `erase`, and excludes `beta`.
      erase: e, like `q`.
      resets: bool `[T, *batch, 1]`; None: nowhere.
    """

    q: Array
    k: Array
    v: Array
    log_decay: Array | None = None
    beta: Array | None = None
    read: Array | None = None
    erase: Array | None = None
    resets: Array | None = None


def advance(S: Array, x: Inputs, fresh: Array | None = None) -> tuple[Array, Array]:
    """Runs one step, which defines the recurrence."""
    if x.resets is not None:
        S = jnp.where(x.resets[..., None, None], 0 if fresh is None else fresh, S)
    if x.log_decay is not None:
        S = jnp.exp(x.log_decay)[..., None] * S
    u = x.v if x.beta is None else x.beta * (x.v - jnp.einsum("...k,...kv->...v", x.k, S))
    if x.read is not None and x.erase is not None:
        S = S - x.erase[..., None] * jnp.einsum("...k,...kv->...v", x.read, S)[..., None, :]
    S = S + x.k[..., None] * u[..., None, :]
    return S, jnp.einsum("...k,...kv->...v", x.q, S)


def stepwise(inputs: Inputs, state: Array, fresh: Array | None = None) -> tuple[Array, Array]:
    """Runs one step after another; a reset starts from `fresh`, or from zero."""
    return lax.scan(lambda S, x: advance(S, x, fresh), state, inputs)


def chunked(inputs: Inputs, state: Array, fresh: Array | None, size: int) -> tuple[Array, Array]:
    """Runs one chunk after another. The gradient stores the states between chunks and recomputes the rest."""
    if inputs.log_decay is not None:  # a lower one would swamp the others in a sum, and `tiny` forgets as much
        inputs = inputs._replace(log_decay=jnp.maximum(inputs.log_decay, math.log(jnp.finfo(state.dtype).tiny)))
    # XLA copies whole sequences before the loop if the axis of a batch or of the heads has length 1.
    ones = tuple(i for i, n in enumerate(state.shape[:-2]) if n == 1)
    later = tuple(i + 1 for i in ones)
    inputs = jax.tree.map(lambda x: jnp.squeeze(x, later), inputs)
    state, fresh = jax.tree.map(lambda x: jnp.squeeze(x, ones), (state, fresh))
    state, ys = _chunks(inputs, state, fresh, size)
    return jnp.expand_dims(state, ones), jnp.expand_dims(ys, later)


def _chunks(inputs: Inputs, state: Array, fresh: Array | None, size: int) -> tuple[Array, Array]:
    total = inputs.q.shape[0]
    size = min(size, total) if is_known(total) else size
    count = -(-total // size)
    empty = count * size - total  # padding comes before the first step, so that the final state does not pass it
    broken = None
    if inputs.resets is not None:
        inputs, state, broken = _mended(inputs, state)

    def split(x: Array) -> Array:
        padded = jnp.pad(x, [(empty, 0)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(count, size, *x.shape[1:])

    def body(S: Array, x: Inputs) -> tuple[Array, Array]:
        return _chunk(S, x, fresh)

    state, ys = lax.scan(jax.checkpoint(body, prevent_cse=False), state, jax.tree.map(split, inputs))
    ys = ys.reshape(count * size, *ys.shape[2:])[empty:]
    if broken is not None:
        ys = jnp.where(broken[..., None], jnp.nan, ys)
        state = jnp.where(broken[-1, ..., None, None], jnp.nan, state)
    return state, ys


def _mended(inputs: Inputs, state: Array) -> tuple[Inputs, Array, Array]:
    """Returns inputs and state with non-finite entries as 0, and a mask of the outputs that must be NaN.

    The mask reaches from the non-finite step to the next reset. In a matrix product NaN would reach other sequences.
    """

    numbers = inputs._replace(resets=None)

    def finite(x: Array) -> Array:
        return jnp.isfinite(x).all(-1)

    head = inputs.q.shape[:-1]
    whole = jnp.stack([jnp.broadcast_to(finite(x), head) for x in jax.tree.leaves(numbers)]).all(0)
    mended = jax.tree.map(lambda x: jnp.where(whole[..., None], x, 0), numbers)
    t = jnp.arange(head[0]).reshape(-1, *[1] * (len(head) - 1))
    intact = finite(state).all(-1)
    begun = lax.cummax(jnp.where(jnp.asarray(inputs.resets), t, -1))  # -1: this sequence began before
    broke = lax.cummax(jnp.where(whole, -2, t))
    broken = (broke >= begun) | ((begun < 0) & ~intact[None])
    return mended._replace(resets=inputs.resets), jnp.where(intact[..., None, None], state, 0), broken


def _chunk(S: Array, x: Inputs, fresh: Array | None) -> tuple[Array, Array]:
    q, k, v, log_decay, beta, read, erase = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -2), tuple(x[:7]))
    size = q.shape[-2]
    log_decay = align(jnp.zeros((size, 1), q.dtype), q) if log_decay is None else log_decay
    b = _sums(log_decay)
    t = jnp.arange(size)
    sees, since, other = align(t[:, None] >= t[None], q), b.coarse + b.fine, None
    if x.resets is not None:  # no state passes from one sequence to the next
        resets = jnp.moveaxis(x.resets, 0, -1)
        sequence = jnp.cumsum(resets, -1)
        sees = sees & (sequence[..., :, None] == sequence[..., None, :])
        other = (sequence > 0)[..., None]
        since = jnp.matmul(sees.astype(q.dtype), log_decay, precision=lax.Precision.HIGHEST)

    def seen(x: Array) -> Array:
        """Returns `(x ⊙ decay)ᵀ` times the state with which the sequence of each step entered this chunk, or began."""
        x = x * jnp.exp(since)
        if other is None:
            return x @ S
        return jnp.where(other, 0, x) @ S + (0 if fresh is None else jnp.where(other, x, 0) @ fresh)

    def earlier(x: Array, k: Array) -> Array:
        return jnp.where(align(t[:, None] > t[None], x), _pairs(x, k, b, sees), 0)

    start = S if other is None else jnp.where(other[..., -1:, :], 0 if fresh is None else fresh, S)
    ends = jax.tree.map(lambda a: a[..., -1:, :], b)
    last = _decay(_gap(ends, b), align((t == size - 1)[:, None], q), sees[..., -1, :, None])
    kept = jnp.exp(jnp.swapaxes(since[..., -1:, :], -1, -2)) * start
    turned = Inputs(q, k, v, beta=beta, read=read, erase=erase)
    S, y = combined(turned, seen, lambda x, k: _pairs(x, k, b, sees), earlier, inverse, kept, last)
    return S, jnp.moveaxis(y, -2, 0)


def combined(
    x: Inputs,
    seen: Callable[[Array], Array],
    pairs: Callable[[Array, Array], Array],
    earlier: Callable[[Array, Array], Array],
    inverse: Callable[[Array], Array],
    kept: Array,
    last: Array,
) -> tuple[Array, Array]:
    """Returns the state after a chunk, and its outputs.

    Args:
      x: inputs with the steps in the last axis but one.
      seen: `x -> (x ⊙ decay)ᵀ S`, of the state before the chunk, or of the one that the step's sequence started from.
      pairs: `(x, k) -> Σ x[i] k[j] decay` over channels for all pairs of steps, 0 where `j` is after `i`.
      earlier: `pairs`, 0 at `j = i`, too.
      inverse: `A -> (I + A)⁻¹`.
      kept: what is left of the state at the end.
      last: the decay of each step until the end.
    """
    q, k, v, _, beta, read, erase, _ = x
    added = [(k, v)]
    if beta is not None:
        added = [(k, inverse(beta * earlier(k, k)) @ (beta * (v - seen(k))))]
    if read is not None and erase is not None:
        added += [(-erase, inverse(earlier(read, erase)) @ (seen(read) + earlier(read, k) @ v))]
    S, y = kept, seen(q)
    for key, value in added:
        y = y + pairs(q, key) @ value
        S = S + jnp.swapaxes(key * last, -1, -2) @ value
    return S, y


class Sums(NamedTuple):
    """Sums of log decays, in two parts.

    Strong decays make a sum large, and the difference of two large sums has few digits left.

    Attributes:
      coarse: the sums of log decays rounded to multiples of a power of two, such that they and their differences are
        exact.
      fine: the sums of the small remainders. It alone has a derivative.
    """

    coarse: Array
    fine: Array


def _sums(log_decay: Array) -> Sums:
    """Returns the sums up to each step."""
    kind = jnp.finfo(log_decay.dtype)
    most = -math.log(kind.tiny) * log_decay.shape[-2]
    unit = 2.0 ** (math.ceil(math.log2(most)) - kind.nmant)
    coarse = lax.stop_gradient(jnp.round(log_decay / unit) * unit)
    return Sums(*jnp.cumsum(jnp.stack([coarse, log_decay - coarse]), -2))


def _gap(later: Sums, earlier: Sums) -> Array:
    """Returns the sum of the log decays between two steps."""
    return (later.coarse - earlier.coarse) + (later.fine - earlier.fine)


def _pairs(x: Array, k: Array, b: Sums, sees: Array) -> Array:
    """Returns `Σ x[i] k[j] exp(bᵢ − bⱼ)` over channels where `sees[i, j]`, and 0 elsewhere; no exponent is positive."""
    size, channels = x.shape[-2:]
    if b.fine.shape[-1] == 1:
        across = jax.tree.map(lambda a: jnp.swapaxes(a, -1, -2), b)
        return x @ jnp.swapaxes(k, -1, -2) * _decay(_gap(b, across), align(jnp.eye(size, dtype=bool), x), sees)
    small = next(n for n in range(min(SMALL, size), 0, -1) if size % n == 0)
    count = size // small

    def blocks(a: Array) -> Array:
        return a.reshape(*a.shape[:-2], count, small, channels)

    def at(where: Any) -> Sums:
        return jax.tree.map(lambda a: a[where], inside)

    inside = jax.tree.map(blocks, b)
    first = at((..., slice(1), slice(None)))
    t, i = jnp.arange(size), jnp.arange(small)
    # Between blocks a decay is the product of those before and after the first step of the later block.
    before = jax.tree.map(lambda a: a[..., None, :, :], b)
    earlier = align((t[None] < small * jnp.arange(count)[:, None])[..., None], before.fine)
    keys = k[..., None, :, :] * jnp.exp(jnp.where(earlier, _gap(first, before), -jnp.inf))
    between = (blocks(x) * jnp.exp(_gap(inside, first))) @ jnp.swapaxes(keys, -1, -2)
    # Within a block a decay is exponentiated pair by pair.
    gaps = _gap(at((..., slice(None), None, slice(None))), at((..., None, slice(None), slice(None))))
    same, down = (align(m[..., None], gaps) for m in (jnp.eye(small, dtype=bool), i[:, None] >= i[None]))
    decay = _decay(gaps, same, down)
    within = jnp.einsum("...ik,...jk,...ijk->...ij", blocks(x), blocks(k), decay)
    placed = within[..., None, :]
    placed = placed * align(jnp.eye(count, dtype=x.dtype)[:, None, :, None], placed)
    pairs = between.reshape(*between.shape[:-1], count, small) + placed
    return jnp.where(sees, pairs.reshape(*pairs.shape[:-4], size, size), 0)


def _decay(gaps: Array, same: Array, sees: Array) -> Array:
    """Returns `exp(gaps)` where `sees`, 1 at the step itself, whatever its sums, and 0 elsewhere."""
    return jnp.exp(jnp.where(sees & ~same, gaps, jnp.where(same, 0, -jnp.inf)))


@jax.custom_jvp
def inverse(A: Array) -> Array:
    """Returns `(I + A)⁻¹` for a strictly lower triangular `A [..., n, n]`, by products alone."""
    n = A.shape[-1]
    if n > SMALL and n % 2 == 0:
        h = n // 2
        upper, lower = inverse(jnp.stack([A[..., :h, :h], A[..., h:, h:]]))
        corner = -lower @ A[..., h:, :h] @ upper
        return jnp.block([[upper, jnp.zeros_like(upper)], [corner, lower]])
    product, power, done = align(jnp.eye(n, dtype=A.dtype), A) - A, -A, 2
    while done < n:  # (I + A)⁻¹ = ∏ (I + (−A)^(2ⁱ)), since Aⁿ = 0
        power = power @ power
        product, done = product + product @ power, 2 * done
    return product


@inverse.defjvp
def _inverse_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    inverted = inverse(*primals)  # `vmap` requires the same mapped axis here as in the function itself
    return inverted, -inverted @ tangents[0] @ inverted
