"""Keeps the keys and values of the last steps of a sequence, which the next steps attend to."""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.carries import serializable
from jaxrnn.recurrence.banded import read, scores
from jaxrnn.recurrence.compact import moved
from jaxrnn.recurrence.rotary import Rotary, rotated, turns
from jaxrnn.types import Array

LAST = 2**30  # the position from which one begins again at a full ring, long before an int32 ends


@serializable
class LocalAttentionCarry(NamedTuple):
    """The last steps of a sequence in a ring, and their number.

    Step `n` of a sequence, from 0 on, is in place `n mod window`. Its key is rotated by the number of that place, so
    that angles stay small however long a stream is. A place without a step is 0.

    Attributes:
      keys: `[*batch, kv_heads, window, K]`.
      values: like `keys`.
      position: int32 `[*batch]`, the number of steps of the sequence so far.
    """

    keys: Array
    values: Array
    position: Array


def in_order(carry: LocalAttentionCarry, rotary: Rotary) -> tuple[Array, Array]:
    """Returns keys, without their rotation, and values, the latest last."""
    places = _places(carry)
    keys = rotated(carry.keys, turns(rotary, -places, carry.keys.dtype))
    index = (carry.position[..., None] + _spread(places, carry.position)) % len(places)
    index = index[..., None, :, None]
    return jnp.take_along_axis(keys, index, -2), jnp.take_along_axis(carry.values, index, -2)


def after_steps(
    carry: LocalAttentionCarry, k: Array, v: Array, *, length: Array, position: Array, rotary: Rotary
) -> LocalAttentionCarry:
    """Returns the carry after the first `length [*batch]` steps of `k` and `v [T, *batch, groups, K]`.

    `position [*batch]` is the number of steps of the sequence that is then the last one.
    """
    places = _places(carry)
    window = len(places)
    last = position[..., None] - 1
    step = last - (last - _spread(places, position)) % window  # the latest step of each place
    index = step - (position - length)[..., None]
    is_new, is_there = (flag[..., None, :, None] for flag in ((index >= 0) & (step >= 0), step >= 0))

    def latest(x: Array) -> Array:
        return jnp.moveaxis(moved(x, jnp.moveaxis(jnp.maximum(index, 0), -1, 0)), 0, -2)

    def filled(new: Array, old: Array) -> Array:
        return jnp.where(is_new, new.astype(old.dtype), jnp.where(is_there, old, 0))

    keys = rotated(latest(k), turns(rotary, places, k.dtype))
    return LocalAttentionCarry(filled(keys, carry.keys), filled(latest(v), carry.values), _wrapped(position, window))


def advance(
    carry: LocalAttentionCarry, q: Array, k: Array, v: Array, *, rotary: Rotary, dtype: Any
) -> tuple[LocalAttentionCarry, Array]:
    """Runs one step, as `banded` runs all; shapes are its without time."""
    places = _places(carry)
    window, position = len(places), carry.position
    at, here = (position % window)[..., None], _spread(places, position)
    own = turns(rotary, at, k.dtype)
    keys, values = _put(carry.keys, rotated(k, own), at[..., 0]), _put(carry.values, v, at[..., 0])
    # Places behind the current one were filled one round ago: from there the query is one round ahead.
    rounds = jnp.concatenate([at, at + window], -1)
    two = turns(rotary, rounds[..., None, None, :], q.dtype)
    both = scores(rotated(jnp.stack([q, q], -2), two), keys, dtype)
    behind = (here > at)[..., None, None, :]
    chosen = jnp.where(behind, both[..., 1, :], both[..., 0, :])[..., None, :]
    seen = (here <= position[..., None])[..., None, None, None, :]
    y = read(chosen, seen, values, dtype)[..., 0, :]
    return LocalAttentionCarry(keys, values, _wrapped(position + 1, window)), y


def _put(ring: Array, x: Array, at: Array) -> Array:
    """Returns `ring [*batch, groups, window, K]` with `x [*batch, groups, K]` in the places `at [*batch]`.

    In a loop XLA writes that place alone; a select would write the whole ring.
    """

    def put(ring: Array, x: Array, at: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(ring, x[:, None].astype(ring.dtype), at, 1)

    return reduce(lambda put, _: jax.vmap(put), range(at.ndim), put)(ring, x, at)


def _places(carry: LocalAttentionCarry) -> Array:
    return jnp.arange(carry.keys.shape[-2], dtype=carry.position.dtype)


def _spread(places: Array, position: Array) -> Array:
    """Returns the numbers of places with an axis of 1 for each axis of a batch."""
    return jnp.expand_dims(places, tuple(range(position.ndim)))


def _wrapped(position: Array, window: int) -> Array:
    """Returns a position without rounds of the ring, which do not matter once it is full."""
    rounds = LAST - LAST % window
    return jnp.where(position >= rounds + window, position - rounds, position)
