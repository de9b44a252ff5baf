"""Convolves over time: each input adds to its own step and to the valid steps that follow.

Step `t` adds `parts[t, …, i, :]` to the `i`-th valid step after it. The carry `pending [*batch, taps − 1, F]` has the
sums for future steps. It is linear in the inputs, so that taps can be applied before a loop.
"""

import jax.numpy as jnp
from jax import lax

from jaxrnn.precision import accumulator
from jaxrnn.recurrence.split_scans import window
from jaxrnn.types import Array, Split


def step(pending: Array, parts: Array) -> tuple[Array, Array]:
    """Returns `(pending, sums [*batch, F])` after one more input, whose parts are `[*batch, taps, F]`."""
    pending, parts = _promoted(pending, parts)
    due = parts + jnp.pad(pending, [(0, 0)] * (pending.ndim - 2) + [(0, 1), (0, 0)])
    return due[..., 1:, :], due[..., 0, :]


def over_time(
    pending: Array,
    parts: Array,
    *,
    valid: Array | None,
    resets: Array | None,
    fresh: Array | None,
    split: Split | None = None,
) -> tuple[Array, Array]:
    """Runs all steps of `parts [T, *batch, taps, F]` at once; returns `(pending, sums [T, *batch, F])`.

    Invalid steps hold `pending`, and have parts of zero; a reset begins with `fresh` instead. Where time is split over
    devices, `pending` is the one before the whole sequence, and the one that is returned that after this part.
    """
    pending, parts = _promoted(pending, parts)
    total, later = parts.shape[0], parts.shape[-2] - 1
    # Valid steps without an input follow the end: their sums are `pending`.
    parts = _padded(parts, (0, later), 0)
    steps = jnp.arange(total + later).reshape(-1, *[1] * (parts.ndim - 3))
    sums = parts[..., 0, :]

    if valid is None:
        age = steps  # counts the valid steps before this one, in all or since the last reset

        def earlier(i: int) -> Array:
            return _padded(parts[:-i, ..., i, :], (i, 0), 0)

    else:
        valid = _padded(valid, (0, later), True)
        counts = valid.astype(steps.dtype)
        age = jnp.cumsum(counts, axis=0, dtype=steps.dtype) - counts
        before = _padded(lax.cummax(jnp.where(valid, steps, 0))[:-1], (1, 0), 0)
        places = [before]
        for _ in range(1, later):
            places.append(jnp.take_along_axis(before, places[-1], axis=0))

        def earlier(i: int) -> Array:
            return jnp.take_along_axis(parts[..., i, :], places[i - 1][..., None], axis=0)

    begun = None
    if resets is not None:
        resets = _padded(resets, (0, later), False)
        age = age - lax.cummax(jnp.where(resets, age, 0))
        begun = lax.cummax(resets.astype(jnp.int8)) > 0

    def due(of: Array, i: int, where: Array | None) -> Array:
        """Returns what `of`, a `pending`, adds to the steps that have its `i`-th entry, if `where`."""
        here = age == i - 1 if where is None else (age == i - 1) & where
        return jnp.where(here[..., None], of[None, ..., i - 1, :], 0)

    for i in range(1, later + 1):
        sums = sums + jnp.where((age >= i)[..., None], earlier(i), 0)
        if begun is not None and fresh is not None:
            sums = sums + due(fresh, i, begun)
    if split is not None and later:
        passed = age[total] if begun is None else jnp.where(begun[total], later, age[total])
        passed = jnp.broadcast_to(passed, pending.shape[:-2])
        own = jnp.moveaxis(sums[total:], 0, -2)
        pending = window(split, pending, own, passed, total, all_valid=valid is None)
    for i in range(1, later + 1):
        sums = sums + due(pending, i, None if begun is None else ~begun)
    return jnp.moveaxis(sums[total:], 0, -2), sums[:total]


def _promoted(pending: Array, parts: Array) -> tuple[Array, Array]:
    dtype = accumulator(parts.dtype)
    return pending.astype(dtype), parts.astype(dtype)


def _padded(x: Array, by: tuple[int, int], value: float) -> Array:
    """Pads the time axis; `jnp.pad` keeps the sharding of `x`, which a concatenated new array might not have."""
    return jnp.pad(x, [by] + [(0, 0)] * (x.ndim - 1), constant_values=value)
