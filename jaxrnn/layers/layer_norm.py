"""`layer_norm` normalises features to mean 0 and variance 1 at every step."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import stepwise
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.shapes import align
from jaxrnn.types import Array, Layer, Params


@checked
def layer_norm(
    *,
    epsilon: float = 1e-6,
    scale_init: Initializer = jax.nn.initializers.ones,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `yₜ = g ⊙ (xₜ − μₜ) / √(σₜ² + ε) + b`, with mean and variance over the features of each step.

    (Ba et al. 2016, "Layer normalization".)

    Args:
      epsilon: ε > 0; it bounds the gradient where all features are equal.
      scale_init: draws g, `scale [D]`.
      bias_init: draws b, `bias [D]`.
      dtype: of the computation; None: promoted from inputs and parameters. Moments are float32 at least.
      param_dtype: of the parameters.

    Returns:
      A `Layer` without a carry: `()`. At invalid steps the output is 0, whatever b is.

    Raises:
      ValueError: `epsilon` is not positive.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.layer_norm())
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.random.normal(jax.random.key(1), (5, 2, 3)))
      >>> bool((abs(ys.mean(-1)) < 1e-5).all())
      True
    """
    if not epsilon > 0:
        raise ValueError(f"layer_norm: epsilon is {epsilon}, expected ε > 0")

    def init(key: Array, in_features: int) -> Params:
        k_scale, k_bias = jax.random.split(key)
        return {
            "scale": scale_init(k_scale, (in_features,), param_dtype),
            "bias": bias_init(k_bias, (in_features,), param_dtype),
        }

    def apply(params: Params, xs: Array) -> Array:
        compute = compute_dtype(dtype, xs, *params.values())
        scale, bias, xs = (a.astype(accumulator(compute)) for a in (params["scale"], params["bias"], xs))
        centred = xs - xs.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return (align(scale, xs) * centred * jax.lax.rsqrt(variance + epsilon) + align(bias, xs)).astype(compute)

    return stepwise("layer_norm", init, apply)
