"""One random key for each step of a run."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrnn.types import Array


def step_keys(key: Array, first: Array | int, total: int) -> Array:
    """Returns `total` keys, that of step `t` drawn from `key` and the number `first + t`.

    A run draws the same for a step, whether `fold` cuts it into chunks or not.
    """
    return jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(total, dtype=jnp.int32))
