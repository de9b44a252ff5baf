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
    """The factors of a rotation, `[..., n]`: `cos` multiplies each feature, `sin` the one that it is paired with."""

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
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return Turns(jnp.concatenate([cos, cos], -1), jnp.concatenate([-sin, sin], -1))


def rotated(x: Array, by: Turns) -> Array:
    """Returns `x [..., K]` with its first features rotated; `by` may lack leading axes of `x`, or have some of 1.

    A flip exchanges the features of each pair, which XLA fuses with the products; halves that are taken apart and
    joined again would be written in between.
    """
    features = by.cos.shape[-1]
    a, rest = x[..., :features], x[..., features:]
    paired = jnp.flip(a.reshape(*a.shape[:-1], 2, features // 2), -2).reshape(a.shape)
    turned = a * align(by.cos, x) + paired * align(by.sin, x)
    return turned if rest.shape[-1] == 0 else jnp.concatenate([turned, rest], -1)
