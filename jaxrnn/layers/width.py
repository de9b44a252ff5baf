"""The width of a layer's output, inferred: no layer asks for it."""

import jax
import jax.numpy as jnp

from jaxrnn.types import Layer, Params


def width(layer: Layer, params: Params, in_features: int) -> int:
    """Features that `layer` gives for `in_features`, without computing any."""
    xs = jax.ShapeDtypeStruct((1, *[1] * (layer.num_feature_axes - 1), in_features), jnp.float32)
    return jax.eval_shape(lambda p, x: layer.apply(p, None, x)[1], params, xs).shape[-1]
