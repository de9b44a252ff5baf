"""Scans over time that is split over devices: what each part does to any state is found, exchanged and applied.

A linear recurrence takes a state `h` through a part as `P h + e`, whatever `h` is: `e` is the end of a run from zero
and `P` the product of the multipliers. Both have the size of a state. After one exchange each device knows the state
before its part.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.chunkwise import Inputs
from jaxrnn.recurrence.loop import select
from jaxrnn.recurrence.split import entering, from_previous
from jaxrnn.shapes import align
from jaxrnn.types import Array, Split

Scan = Callable[[Array, Array, Array, Array | None], Array]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def affine(scan: Scan, split: Split, a: Array, b: Array, h0: Array, resets: Array | None) -> tuple[Array, Array]:
    """Runs `hₜ = aₜ hₜ₋₁ + bₜ` by `scan(a, b, h0, resets)`; returns the state before this part and all states of it.

    It runs the part twice, from zero for its end and from the right state, so that only states are stored.
    """
    return _affine(scan, split, a, b, h0, resets)


def _affine(scan: Scan, split: Split, a: Array, b: Array, h0: Array, resets: Array | None) -> tuple[Array, Array]:
    product = lax.integer_pow(a[0], b.shape[0]) if a.shape[0] == 1 else jnp.prod(a, 0)
    product = jnp.broadcast_to(product, h0.shape)
    if resets is not None:
        product = select(resets.any(0), jnp.zeros_like(product), product)
    end = scan(a, b, jnp.zeros_like(h0), resets)[-1]

    def advance(h: Array, summary: tuple[Array, Array]) -> Array:
        product, end = summary
        return product * (h if resets is None else jnp.where(product == 0, 0, h)) + end  # a reset forgets NaN, too

    start = entering(split, advance, h0, (product, end))
    return start, scan(a, b, start, resets)


@affine.defjvp
def _affine_jvp(scan: Scan, split: Split, primals: Any, tangents: Any) -> Any:
    """Returns the tangent as a scan of the same kind, which needs `a` and the states alone."""
    a, _, _, resets = primals
    da, db, dh0, _ = tangents
    start, hs = affine(scan, split, *primals)
    before = jnp.concatenate([start[None], hs[:-1]])
    if resets is not None:
        before = select(
            jnp.broadcast_to(resets, (*before.shape[:1], *resets.shape[1:])), jnp.zeros_like(before), before
        )
    return (start, hs), _affine(scan, split, a, db + da * before, dh0, resets)


def matrix(
    run: Callable[..., tuple[Array, Array]], split: Split, inputs: Inputs, state: Array, fresh: Array | None
) -> tuple[Array, Array]:
    """Runs a recurrence of matrices by `run(inputs, state, fresh)`; returns the state after this part and its outputs.

    A part runs once, from zero. What the state before it adds to the outputs and to the end is one product each: the
    multiplier of a state has a number for each of its rows, or is a matrix where the recurrence erases.
    """
    begun = None if inputs.resets is None else lax.cummax(inputs.resets.astype(jnp.int8)) > 0
    of_rows = inputs.beta is None and inputs.read is None
    through = _through_rows if of_rows else _through_matrices
    end, ys, product, seen = through(run, inputs, state, fresh, begun)

    def advance(S: Array, summary: Array) -> Array:
        end, product = summary[..., : state.shape[-1]], summary[..., state.shape[-1] :]
        if begun is not None:  # a reset forgets NaN, too
            S = jnp.where((product == 0).all((-2, -1), keepdims=True), 0, S)
        return (product * S if of_rows else product @ S) + end

    start = entering(split, advance, state, jnp.concatenate([end, product], -1))
    end = advance(start, jnp.concatenate([end, product], -1))
    if begun is None:
        return end, ys + jnp.einsum("...k,...kv->...v", seen, start[None])
    sound = jnp.isfinite(start).all((-2, -1))
    ys = ys + jnp.einsum("...k,...kv->...v", seen, jnp.where(sound[..., None, None], start, 0)[None])
    return end, jnp.where((sound[None] | begun)[..., None], ys, jnp.nan)


def _through_rows(
    run: Callable[..., tuple[Array, Array]], inputs: Inputs, state: Array, fresh: Array | None, begun: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Returns end and outputs of a run from zero, the multiplier of a state `[…, K, 1]`, and what reads it."""
    end, ys = run(inputs, jnp.zeros_like(state), fresh)
    shape = (*inputs.q.shape[:-1], 1)
    decay = jnp.ones(shape, state.dtype) if inputs.log_decay is None else jnp.exp(jnp.cumsum(inputs.log_decay, 0))
    if begun is not None:
        decay = jnp.where(begun[..., None], 0, decay)
    product = jnp.broadcast_to(decay[-1][..., None], (*state.shape[:-1], 1))
    return end, ys, product, inputs.q * decay


def _through_matrices(
    run: Callable[..., tuple[Array, Array]], inputs: Inputs, state: Array, fresh: Array | None, begun: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Returns end and outputs of a run from zero, the multiplier of a state `[…, K, K]`, and what reads it.

    The run has K more columns with values of zero, which begin as the identity.
    """
    del begun  # the run itself sets the columns to zero at a reset
    keys, values = state.shape[-2:]

    def beside(x: Array, more: Array) -> Array:
        return jnp.concatenate([x, jnp.broadcast_to(more, (*x.shape[:-1], keys))], -1)

    nothing = jnp.zeros(keys, state.dtype)
    both, ys = run(
        inputs._replace(v=beside(inputs.v, nothing)),
        beside(jnp.zeros_like(state), jnp.eye(keys, dtype=state.dtype)),
        None if fresh is None else beside(fresh, nothing),
    )
    return both[..., :values], ys[..., :values], both[..., values:], ys[..., values:]


def window(split: Split, start: Array, end: Array, count: Array, total: int, *, all_valid: bool) -> Array:
    """Returns the window before this part, `[*batch, …, W, F]`, whose entries move to the front as steps pass.

    Args:
      split: how time is split.
      start: the window before the first part.
      end: the window after this part, from an empty one.
      count: int `[*batch]`, the entries that move out of the window during this part.
      total: the steps of a part.
      all_valid: whether `count` is `total` in all parts: if that is as long as a window, only the previous part counts.
    """
    size = start.shape[-2]
    if all_valid and total >= size:
        return from_previous(split, end, start)
    count = jnp.minimum(count, size)

    def advance(window: Array, summary: tuple[Array, Array]) -> Array:
        end, count = summary
        places = align(jnp.arange(size, dtype=count.dtype), count[..., None]) + count[..., None]
        places = jnp.expand_dims(places, (*range(count.ndim, window.ndim - 2), window.ndim - 1))
        kept = jnp.take_along_axis(window, jnp.minimum(places, size - 1), -2)
        return jnp.where(places < size, kept, 0) + end

    return entering(split, advance, start, (end, count))
