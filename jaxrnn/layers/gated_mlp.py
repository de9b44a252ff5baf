"""`gated_mlp` is two dense layers, of which the first has a gate beside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.gated import gated
from jaxrnn.layers.layer import stepwise
from jaxrnn.options import checked
from jaxrnn.types import Array, Layer


@checked
def gated_mlp(
    features: int,
    *,
    expansion: int = 3,
    activation: Callable[[Array], Array] = jax.nn.gelu,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `yₜ = W_o (W_x xₜ ⊙ activation(W_g xₜ))`, with biases, which acts on each step alone.

    (Shazeer 2020, "GLU variants improve transformer"; De et al. 2024, "Griffin: mixing gated linear recurrences with
    local attention for efficient language models", has it after each recurrence and each attention.)

    Args:
      features: H, the width of the output.
      expansion: the ratio of widths, `E = expansion * H`.
      activation: of the gate, applied to `[..., E]`.
      use_bias: whether there are biases.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` without a carry: `()`. Its parameters are `kernel [D, 2, E]` (value, gate), `out [E, H]` and, with
      `use_bias`, `bias [2, E]` and `out_bias [H]`.

    Raises:
      ValueError: `features` or `expansion` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.rms_norm(), jaxrnn.gated_mlp(8)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape, params["layer_1"]["kernel"].shape
      ((5, 2, 8), (8, 2, 24))
    """
    itself = stepwise("itself", lambda key, in_features: {}, lambda params, xs: xs)
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    width = expansion * features
    return gated("gated_mlp", itself, width, features, activation=activation, use_bias=use_bias, **common)
