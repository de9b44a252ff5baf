"""Rotates pairs of features by an angle that grows with the position: products then depend on distances alone.

Of the first `n` features, `i` and `i + n / 2` are a pair with the angle `position / base^(2 i / n)` (Su et al. 2021,
"RoFormer: enhanced transformer with rotary position embedding"; pairs are neighbours there, which is another order of
the columns of a kernel).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxrnn.shapes import align
from jaxrnn.types import Array


class Rotary(NamedTuple):
    """The rotation of the features of a head.

    Attributes:
      features: n, the features that are rotated, an even number.
      base: of the angles.
    """

    features: int
    base: float


class Turns(NamedTuple):
    """The cosine and the sine of each angle, `[..., n / 2]`."""

    cos: Array
    sin: Array


def turns(rotary: Rotary, positions: Array, dtype: Any) -> Turns:
    """Returns the rotations of `positions [...]`; a negative position undoes one.

    An angle has as many correct digits after the point as `dtype` has left behind the position, so positions should be
    small.
    """
    half = rotary.features // 2
    frequencies = rotary.base ** (-jnp.arange(half, dtype=dtype) / half)
    angles = positions[..., None].astype(dtype) * jnp.expand_dims(frequencies, tuple(range(positions.ndim)))
    return Turns(jnp.cos(angles), jnp.sin(angles))


def rotated(x: Array, by: Turns) -> Array:
    """Returns `x [..., K]` with its first features rotated; `by` may lack leading axes of `x`, or have some of 1."""
    cos, sin = align(by.cos, x), align(by.sin, x)
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)
