"""`dropout` regularises between layers."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.layers.layer import stepwise
from jaxrnn.options import checked
from jaxrnn.types import Array, Layer, Params


@checked
def dropout(rate: float, *, per_sequence: bool = False) -> Layer:
    """Makes a layer that zeroes features with probability `rate` and scales the rest by `1 / (1 − rate)`.

    (Srivastava et al. 2014, "Dropout"; `per_sequence` is from Gal & Ghahramani 2016, "A theoretically grounded
    application of dropout in recurrent neural networks".)

    Args:
      rate: 0 ≤ rate < 1.
      per_sequence: whether there is one mask per sequence, shared by all steps.

    Returns:
      A `Layer` without parameters and without a carry; without a `key`, and in `step`, it returns its input.

    Raises:
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dropout(0.5), jaxrnn.dense(2))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> xs = jax.numpy.ones((5, 2, 3))
      >>> carry, noisy = jaxrnn.unroll(layer, params, xs, key=jax.random.key(1))
      >>> carry, plain = jaxrnn.unroll(layer, params, xs)
      >>> bool((noisy != plain).any())
      True
    """
    checks.check_rate("dropout", "rate", rate)

    def init(key: Array, in_features: int) -> Params:
        del key, in_features
        return {}

    def apply(params: Params, xs: Array, key: Array | None = None) -> Array:
        del params
        if key is None or rate == 0:
            return xs
        shape = (1, *xs.shape[1:]) if per_sequence else xs.shape
        kept = jax.random.bernoulli(key, 1 - rate, shape)
        return jnp.where(kept, xs / (1 - rate), jnp.zeros_like(xs))

    return stepwise("dropout", init, apply, draws=rate > 0)
