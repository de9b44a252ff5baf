"""`dense` applies an affine map at every step, the readout of a network."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.loop import activated
from jaxrnn.shapes import align
from jaxrnn.types import Array, Carry, Layer, Params, Steps


@checked
def dense(
    features: int,
    *,
    activation: Callable[[Array], Array] | None = None,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `ŷₜ = activation(W_hy hₜ + b_y)`; with `activation=jax.nn.softmax` it is Elman's readout.

    Args:
      features: F, the width of the output.
      activation: applied to `[..., F]`; None leaves the output linear.
      use_bias: whether there is a bias.
      kernel_init: draws `kernel [D, F]`.
      bias_init: draws `bias [F]`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` without a carry: `()`. At invalid steps the output is 0, whatever the activation.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.elman(8), jaxrnn.dense(4, activation=jax.nn.softmax))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, round(float(ys[0, 0].sum()), 4)
      ((5, 2, 4), 1.0)
    """

    def init(key: Array, in_features: int) -> Params:
        kernel = kernel_init(key, (in_features, features), accumulator(param_dtype)).astype(param_dtype)
        return {"kernel": kernel} | ({"bias": bias_init(key, (features,), param_dtype)} if use_bias else {})

    def outputs(params: Params, xs: Array, valid: Array | None) -> Array:
        compute = compute_dtype(dtype, xs, params["kernel"])
        ys = product(xs, params["kernel"], compute)
        if use_bias:
            ys = ys + align(params["bias"].astype(ys.dtype), ys)
        return activated(activation, valid, ys).astype(compute)

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        return carry, outputs(params, xs, steps.valid)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return carry, outputs(params, x, None)

    return layer("dense", init, run, step, any_axes=True, splits=True)
