"""`dense`: an affine map at every step, the readout of a network."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.stepwise import stepwise
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.loop import select
from jaxrnn.shapes import align
from jaxrnn.types import Array, Layer, Params


@checked
def dense(
    features: int,
    *,
    activation: Callable[[Array], Array] | None = None,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """`ŷₜ = activation(W_hy hₜ + b_y)` at every step: with `activation=jax.nn.softmax`, Elman's readout.

    Args:
      features: F, the width of the output.
      activation: applied to `[..., F]`; None leaves the output linear.
      kernel_init: draws `kernel [D, F]`.
      bias_init: draws `bias [F]`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Layer` without a carry: `()`. At invalid steps the output is 0, whatever the activation.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.elman(8)), jaxrnn.dense(4, activation=jax.nn.softmax))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = layer.apply(params, None, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, round(float(ys[0, 0].sum()), 4)
      ((5, 2, 4), 1.0)
    """

    def init(key: Array, in_features: int) -> Params:
        kernel = kernel_init(key, (in_features, features), accumulator(param_dtype)).astype(param_dtype)
        return {"kernel": kernel, "bias": bias_init(key, (features,), param_dtype)}

    def outputs(params: Params, xs: Array, valid: Array | None, key: Array | None) -> Array:
        del key
        compute = compute_dtype(dtype, xs, params["kernel"])
        ys = product(xs, params["kernel"], compute)
        ys = ys + align(params["bias"].astype(ys.dtype), ys)
        if activation is not None:
            # Ones at invalid steps: where zero meets a singular activation, even a cotangent of zero gives NaN.
            ys = activation(ys if valid is None else select(valid, ys, jnp.ones_like(ys)))
        return ys.astype(compute)

    return stepwise("dense", init, outputs)
