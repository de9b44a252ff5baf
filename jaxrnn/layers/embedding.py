"""`embedding` maps token ids to vectors."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import stepwise
from jaxrnn.options import checked
from jaxrnn.precision import compute_dtype
from jaxrnn.types import Array, Layer, Params


@checked
def embedding(
    vocabulary: int,
    features: int,
    *,
    embedding_init: Initializer | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `yₜ = E[xₜ]`, which looks up token ids in a table. It comes first in a `stack`.

    Inputs are integers `[T, *batch]`, without an axis of features, so that `init` takes None for `in_features`.

    Args:
      vocabulary: V, the number of ids. An id below 0 or from V on gives NaN.
      features: F, the width of the output.
      embedding_init: draws `embedding [V, F]`: `(key, (V, F), dtype) -> Array`; None: normal, of variance `1 / F`.
      dtype: of the output; None: the table's.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step` and without a carry: `()`.

    Raises:
      ValueError: `vocabulary` or `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.embedding(1000, 16), jaxrnn.lstm(8), jaxrnn.dense(1000))
      >>> params = model.init(jax.random.key(0), None)
      >>> carry, logits = jaxrnn.unroll(model, params, jax.numpy.array([[4, 7], [8, 1], [5, 0]]))
      >>> logits.shape
      (3, 2, 1000)
    """
    draw = jax.nn.initializers.normal(features**-0.5) if embedding_init is None else embedding_init

    def init(key: Array, in_features: None) -> Params:
        del in_features  # ids have none
        return {"embedding": draw(key, (vocabulary, features), param_dtype)}

    def apply(params: Params, xs: Array) -> Array:
        ids = jnp.where(xs < 0, vocabulary, xs)  # negative ids would count from the end
        return jnp.take(params["embedding"], ids, axis=0, mode="fill").astype(compute_dtype(dtype, params["embedding"]))

    return stepwise("embedding", init, apply, num_feature_axes=0)
