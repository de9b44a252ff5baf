"""Converts the convolutional LSTM of Flax and Haiku, whose gates are `i g f o` and whose steps add 1 to `f`."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.cells.conv import conv_lstm
from jaxrnn.interop import layout, names
from jaxrnn.interop.network import Direction
from jaxrnn.types import Params


def read(where: str, weights: names.Weights, parts: Sequence[str]) -> Direction:
    """Reads kernels `[*window, C, 4·F]` of the input and the state, and their biases, if any; `parts` names them."""
    kernels, biases = parts[:2], parts[2:] if any(bias in weights for bias in parts[2:]) else []
    names.check_names(where, weights, [*kernels, *biases], "give the parameters of one cell")
    for name in kernels:
        if weights[name].ndim not in (3, 4, 5):
            raise checks.ShapeError(f"{where}: {name!r} has shape {weights[name].shape}, expected [*window, C, 4·F]")
    *window, channels, _ = weights[kernels[0]].shape
    features = weights[kernels[1]].shape[-2]
    shapes = dict(zip(kernels, ((*window, size, 4 * features) for size in (channels, features)), strict=True))
    names.check_shapes(where, weights, shapes | dict.fromkeys(biases, (4 * features,)), f"{features} features")

    kernel, recurrent_kernel = (layout.split(weights[name], 4, layout.IGFO) for name in kernels)
    bias = jnp.broadcast_to(layout.FORGET, (4, features)).astype(kernel.dtype)
    for name in biases:
        bias = bias + layout.split(weights[name], 4, layout.IGFO)
    return conv_lstm(features, tuple(window)), {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}


def write(params: Params, parts: Sequence[str]) -> names.Weights:
    """Inverts `read`, with all of the bias in the first one."""
    bias = layout.bias_or_zeros(params)
    bias = layout.join(bias - layout.FORGET.astype(bias.dtype), layout.IGFO)
    first, second = (layout.join(params[name], layout.IGFO) for name in ("kernel", "recurrent_kernel"))
    return dict(zip(parts, [first, second, bias, np.zeros_like(bias)], strict=True))
