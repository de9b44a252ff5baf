"""`dropout` regularises between layers."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.layers.layer import layer, stepwise
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Layer, Params, Steps


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

    def dropped(xs: Array, key: Array | None, shape: tuple[int, ...]) -> Array:
        if key is None:
            return xs
        return jnp.where(jax.random.bernoulli(key, 1 - rate, shape), xs / (1 - rate), jnp.zeros_like(xs))

    def of_step(params: Params, x: Array, key: Array | None = None) -> Array:
        del params
        return dropped(x, key, x.shape)

    def of_sequence(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        del params
        return carry, dropped(xs, steps.key, (1, *xs.shape[1:]))

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        del params
        return carry, x

    if per_sequence:
        return layer("dropout", init, of_sequence, step, any_axes=True, draws=rate > 0, splits=True)
    return stepwise("dropout", init, of_step, draws=rate > 0)
