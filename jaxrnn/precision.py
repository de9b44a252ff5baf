"""In which dtype things are computed, and in which they are accumulated."""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxrnn.sharding import outer_sharding
from jaxrnn.types import Array


def compute_dtype(dtype: Any, *arrays: Array) -> Any:
    """`dtype` if it is given, else what the arrays promote to: the meaning that Flax gives to `dtype`; a real one."""
    found = jnp.dtype(dtype) if dtype is not None else jnp.result_type(*arrays)
    if not jnp.issubdtype(found, jnp.floating):
        what = "parameters promote to" if dtype is None else "dtype is"
        raise ValueError(f"{what} {found}, expected a floating one such as jnp.float32, in which cells compute")
    return found


def accumulator(dtype: Any) -> Any:
    """The dtype of carries and of sums of products of `dtype`: float32 for half precision, else `dtype` itself."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def product(a: Array, b: Array, dtype: Any) -> Array:
    """`a[..., K] @ b[K, N]` with inputs in `dtype`, summed and returned in `accumulator(dtype)`."""
    return _dot(a, b, ((a.ndim - 1,), (0,)), dtype)


def outer(a: Array, b: Array, dtype: Any) -> Array:
    """`Σ aᵀ b` over every axis but the last, `[K, N]`.

    The leading axes are contracted as they stand: a reshape would gather a batch that is sharded.
    """
    over = tuple(range(a.ndim - 1))
    return _dot(a, b, (over, over), dtype, out_sharding=outer_sharding(a, b))


def _dot(
    a: Array, b: Array, contract: tuple[tuple[int, ...], tuple[int, ...]], dtype: Any, out_sharding: Any = None
) -> Array:
    a, b = a.astype(dtype), b.astype(dtype)
    wide = accumulator(dtype)
    return lax.dot_general(a, b, (contract, ((), ())), preferred_element_type=wide, out_sharding=out_sharding)
