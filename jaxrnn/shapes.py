"""Aligns axes explicitly, so that JAX may check for accidental broadcasting."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.sizes import is_known
from jaxrnn.types import Array


def align(p: Array, x: Array) -> Array:
    """Returns `p` with leading axes of length 1, so that it has as many axes as `x`."""
    return jnp.expand_dims(p, tuple(range(x.ndim - p.ndim)))


@partial(jax.jit, static_argnames=("shape", "dtype"), inline=True)
def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns zeros made on the device: outside `jit`, `jnp.zeros` transfers a 0 to it."""
    return jnp.zeros(shape, dtype)


def without_axes_of_one(a: Array) -> Array:
    """Returns `a` without those of its axes after the first that have length 1."""
    ones = tuple(axis for axis, size in enumerate(a.shape) if axis and is_known(size) and size == 1)
    return jnp.squeeze(a, ones) if ones else a
