"""`scheduled_sampling` reads a sequence, with some of its tokens replaced by the model's own."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.decode.draw import draw
from jaxrnn.decode.stepping import Step, check_scalar, started, tokens_of
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry


@checked
def scheduled_sampling(
    step: Step, carry: Carry, tokens: Array, *, rate: float | Array, key: Array
) -> tuple[Carry, Array]:
    """Reads sequences of tokens, of which some are replaced by what the model draws from its own predictions.

    A model that is trained on true tokens alone has never seen its own mistakes. Here each token after the first is,
    with probability `rate`, a draw from the logits of the step before (Bengio et al. 2015, "Scheduled sampling for
    sequence prediction with recurrent neural networks"). Training begins with a `rate` of 0 and raises it; gradients do
    not flow through the draw.

    Args:
      step: `(carry, tokens [*batch]) -> (carry, logits [*batch, V])`, the model, which reads a token and predicts the
        next.
      carry: the carry before the first token, leaves `[*batch, ...]`.
      tokens: the true tokens that the model reads, int `[T, *batch]`.
      rate: the probability of a replacement, from 0 to 1; it may be traced, so that a schedule compiles nothing anew.
      key: draws which tokens are replaced, and by what.

    Returns:
      `(carry, logits)`: the carry after the last token, and logits `[T, *batch, V]`, those of the token after each.

    Raises:
      ShapeError: a leaf of `carry` does not begin with the axes of the batch, or `step` returns other shapes.
      ValueError: `rate` is not a probability.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.embedding(5, 3), jaxrnn.gru(8), jaxrnn.dense(5))
      >>> params = model.init(jax.random.key(0), None)
      >>> def step(carry, tokens):
      ...     return jaxrnn.step(model, params, carry, tokens)
      >>> tokens = jnp.array([[1, 2], [3, 0], [4, 4]])
      >>> carry, logits = jaxrnn.scheduled_sampling(
      ...     step, model.init_carry(params, (2,)), tokens, rate=0.25, key=jax.random.key(1)
      ... )
      >>> logits.shape
      (3, 2, 5)
    """
    tokens = tokens_of("scheduled_sampling", "tokens", tokens, 1, "[T, *batch]")
    check_scalar("scheduled_sampling", "rate", rate, lambda value: 0 <= value <= 1, "a probability from 0 to 1")
    total, batch = tokens.shape[0], tokens.shape[1:]
    carry, _ = started("scheduled_sampling", step, carry, jnp.zeros(batch, tokens.dtype), name="tokens")
    k_where, k_what = jax.random.split(key)
    replaced = jax.random.bernoulli(k_where, rate, tokens.shape).at[:1].set(False)

    def body(state: tuple[Carry, Array], at_t: Any) -> tuple[tuple[Carry, Array], Array]:
        carry, own = state
        token, other, k = at_t
        carry, logits = step(carry, jnp.where(other, own, token))
        return (carry, draw(k, logits, 1.0, None, None).astype(tokens.dtype)), logits

    own = jnp.zeros(batch, tokens.dtype)
    (carry, _), logits = jax.lax.scan(body, (carry, own), (tokens, replaced, jax.random.split(k_what, total)))
    return carry, logits
