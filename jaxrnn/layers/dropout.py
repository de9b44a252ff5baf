"""`dropout`: regularisation between layers."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.recurrence.loop import silence, valid_steps
from jaxrnn.types import Array, Carry, Layer, Params


def dropout(rate: float, *, per_sequence: bool = False) -> Layer:
    """Zeroes features with probability `rate` and scales the rest by `1 / (1 − rate)`, if `apply` is given a key.

    Srivastava et al. 2014, "Dropout"; with `per_sequence`, one mask for all steps of a row (Gal & Ghahramani 2016,
    "A theoretically grounded application of dropout in recurrent neural networks").

    Args:
      rate: 0 ≤ rate < 1.
      per_sequence: whether a row keeps its mask over time.

    Returns:
      A `Layer` without parameters and without a carry; `key=None`, and `step`, leave the input as it is.

    Raises:
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.lstm(8)), jaxrnn.dropout(0.5), jaxrnn.dense(2))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> xs = jax.numpy.ones((5, 2, 3))
      >>> carry, noisy = layer.apply(params, None, xs, key=jax.random.key(1))
      >>> carry, plain = layer.apply(params, None, xs)
      >>> bool((noisy != plain).any())
      True
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate is {rate}, expected 0 ≤ rate < 1")

    def init(key: Array, in_features: int) -> Params:
        del key, in_features
        return {}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        del params, batch_shape
        return ()

    def apply(
        params: Params,
        carry: Carry | None,
        xs: Array,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Carry, Array]:
        del params, carry
        xs = checks.xs_of("dropout", xs)
        checks.check_steps("dropout", xs, lengths, mask, resets)
        xs = silence(valid_steps(lengths, mask, xs.shape[0]), xs)
        if key is None or rate == 0:
            return (), xs
        shape = (1, *xs.shape[1:]) if per_sequence else xs.shape
        kept = jax.random.bernoulli(key, 1 - rate, shape)
        return (), jnp.where(kept, xs / (1 - rate), jnp.zeros_like(xs))

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        del params
        return carry, checks.xs_of("dropout", x, name="x", axes=1, layout="[*batch, D]")

    return Layer(init, init_carry, apply, step)
