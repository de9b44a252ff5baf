"""Moves the valid steps of each sequence to the beginning of the time axis, and back to their places.

What looks at neighbours in time then sees valid steps alone, whatever lies between them.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxrnn.types import Array


class Places(NamedTuple):
    """The places of steps before and after a move.

    Attributes:
      order: int `[T, *batch]`, the steps in their new order: valid ones first.
      rank: int `[T, *batch]`, the number of valid steps before each step, which is the new place of a valid one.
      length: int `[*batch]`, the number of valid steps.
    """

    order: Array
    rank: Array
    length: Array


def places(valid: Array) -> Places:
    """Returns the places of the steps of `valid [T, *batch]`."""
    counts = valid.astype(jnp.int32)
    upto = jnp.cumsum(counts, 0, dtype=counts.dtype)
    return Places(jnp.argsort(~valid, 0, stable=True), upto - counts, counts.sum(0, dtype=counts.dtype))


def moved(x: Array, index: Array) -> Array:
    """Returns `x [T, *batch, ...]` at the steps `index [S, *batch]` of each sequence."""
    index = index.reshape(index.shape + (1,) * (x.ndim - index.ndim))
    return jnp.take_along_axis(x, index, axis=0, mode="clip")
