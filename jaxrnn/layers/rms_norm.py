"""`rms_norm` divides the features of each step by their root mean square."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import stepwise
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.shapes import align
from jaxrnn.types import Array, Layer, Params


@checked
def rms_norm(
    *,
    epsilon: float = 1e-6,
    scale_init: Initializer = jax.nn.initializers.ones,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `yₜ = g ⊙ xₜ / √(mean(xₜ²) + ε)`, with the mean over the features of each step.

    (Zhang & Sennrich 2019, "Root mean square layer normalization".)

    Args:
      epsilon: ε > 0; it bounds the gradient where all features are 0.
      scale_init: draws g, `scale [D]`.
      dtype: of the computation; None: promoted from inputs and parameters. The mean is float32 at least.
      param_dtype: of the parameters.

    Returns:
      A `Layer` without a carry: `()`.

    Raises:
      ValueError: `epsilon` is not positive.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.rms_norm())
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.random.normal(jax.random.key(1), (5, 2, 3)))
      >>> bool((abs((ys**2).mean(-1) - 1) < 0.01).all())
      True
    """
    if not epsilon > 0:
        raise ValueError(f"rms_norm: epsilon is {epsilon}, expected ε > 0")

    def init(key: Array, in_features: int) -> Params:
        return {"scale": scale_init(key, (in_features,), param_dtype)}

    def apply(params: Params, xs: Array) -> Array:
        compute = compute_dtype(dtype, xs, params["scale"])
        scale, xs = (a.astype(accumulator(compute)) for a in (params["scale"], xs))
        square = (xs**2).mean(-1, keepdims=True)
        return (align(scale, xs) * xs * jax.lax.rsqrt(square + epsilon)).astype(compute)

    return stepwise("rms_norm", init, apply)
