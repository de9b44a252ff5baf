"""How arrays of fewer axes meet those of more: explicitly, so that JAX may check for accidental broadcasting."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.types import Array


def align(p: Array, x: Array) -> Array:
    """Returns `p` with as many leading axes of length 1 as it lacks beside `x`."""
    return jnp.expand_dims(p, tuple(range(x.ndim - p.ndim)))


@partial(jax.jit, static_argnames=("shape", "dtype"), inline=True)
def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Returns zeros that the device makes: outside `jit`, `jnp.zeros` sends it one."""
    return jnp.zeros(shape, dtype)
