"""Initial values of a cell's parameters, drawn gate by gate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.precision import accumulator
from jaxrnn.types import Array, Params

Initializer = Callable[..., Array]  # (key, shape, dtype) -> Array, as in jax.nn.initializers

lecun_normal = jax.nn.initializers.lecun_normal()
orthogonal = jax.nn.initializers.orthogonal()
zeros = jax.nn.initializers.zeros


def per_gate(initializer: Initializer, key: Array, rows: int, gates: int, features: int, dtype: Any) -> Array:
    """`[rows, gates, features]`, each gate drawn apart as a `[rows, features]` matrix.

    Drawn in float32 and cast: a QR decomposition in half precision is not orthogonal.
    """
    draw = jax.vmap(lambda k: initializer(k, (rows, features), accumulator(dtype)), out_axes=1)
    return draw(jax.random.split(key, gates)).astype(dtype)


def dense_params(
    key: Array,
    in_features: int,
    features: int,
    gates: int,
    *,
    kernel_init: Initializer = lecun_normal,
    recurrent_kernel_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
    param_dtype: Any = jnp.float32,
) -> Params:
    """`kernel [D, G, H]`, `recurrent_kernel [H, G, H]`, `bias [G, H]`: what `dense_cell` needs at least.

    Args:
      key: a PRNG key.
      in_features: D.
      features: H.
      gates: G.
      kernel_init: `(key, (D, H), dtype) -> Array`, called for each gate.
      recurrent_kernel_init: `(key, (H, H), dtype) -> Array`, called for each gate.
      bias_init: `(key, (G, H), dtype) -> Array`, called once.
      param_dtype: of the result.
    """
    k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
    return {
        "kernel": per_gate(kernel_init, k_kernel, in_features, gates, features, param_dtype),
        "recurrent_kernel": per_gate(recurrent_kernel_init, k_recurrent, features, gates, features, param_dtype),
        "bias": bias_init(k_bias, (gates, features), param_dtype),
    }


def gate_offset(initializer: Initializer, gate: int, offset: float) -> Initializer:
    """`initializer` for a `[G, H]` bias, with `offset` added to one gate: a forget bias."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return initializer(key, shape, dtype).at[gate].add(offset)

    return init
