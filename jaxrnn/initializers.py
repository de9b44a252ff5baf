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
    """Draws each gate apart, as a matrix of its own.

    Drawn in float32 at least and then cast: a QR decomposition in half precision is not orthogonal.

    Args:
      initializer: `(key, (rows, features), dtype) -> Array`, as those of `jax.nn.initializers`.
      key: a PRNG key.
      rows: the first axis of each matrix.
      gates: G.
      features: H.
      dtype: of the result.

    Returns:
      `[rows, gates, features]`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> orthogonal = jaxrnn.initializers.orthogonal
      >>> kernel = jaxrnn.initializers.per_gate(orthogonal, jax.random.key(0), 4, 2, 4, jnp.float32)
      >>> bool(jnp.allclose(kernel[:, 1].T @ kernel[:, 1], jnp.eye(4), atol=1e-5))
      True
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
    bias_init: Initializer | None = zeros,
    param_dtype: Any = jnp.float32,
) -> Params:
    """Draws what `dense_cell` needs at least.

    Args:
      key: a PRNG key.
      in_features: D.
      features: H.
      gates: G.
      kernel_init: `(key, (D, H), dtype) -> Array`, called for each gate.
      recurrent_kernel_init: `(key, (H, H), dtype) -> Array`, called for each gate.
      bias_init: `(key, (G, H), dtype) -> Array`, called once; None: no bias.
      param_dtype: of the result.

    Returns:
      `{"kernel": [D, G, H], "recurrent_kernel": [H, G, H], "bias": [G, H]}`.

    Example:
      >>> import jax, jaxrnn
      >>> params = jaxrnn.initializers.dense_params(jax.random.key(0), 3, 8, 2)
      >>> params["kernel"].shape, params["recurrent_kernel"].shape, params["bias"].shape
      ((3, 2, 8), (8, 2, 8), (2, 8))
    """
    k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
    kernels = {
        "kernel": per_gate(kernel_init, k_kernel, in_features, gates, features, param_dtype),
        "recurrent_kernel": per_gate(recurrent_kernel_init, k_recurrent, features, gates, features, param_dtype),
    }
    return kernels if bias_init is None else kernels | {"bias": bias_init(k_bias, (gates, features), param_dtype)}


def gate_offset(initializer: Initializer, gate: int, offset: float) -> Initializer:
    """Adds a number to one gate's initial bias: a forget bias, say.

    Args:
      initializer: draws a whole bias `[G, H]`.
      gate: which gate.
      offset: what is added to it.

    Returns:
      An initializer for `[G, H]`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> init = jaxrnn.initializers.gate_offset(jax.nn.initializers.zeros, 1, 1.0)
      >>> init(jax.random.key(0), (2, 3), jnp.float32).tolist()
      [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return initializer(key, shape, dtype).at[gate].add(offset)

    return init
