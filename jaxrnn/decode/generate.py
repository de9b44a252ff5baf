"""`generate` writes sequences token by token."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.decode.draw import check_drawing, draw
from jaxrnn.decode.stepping import Step, check_eos, started, tokens_of
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import select
from jaxrnn.types import Array, Carry


class _State(NamedTuple):
    t: Array
    carry: Carry
    last: Array  # the token that the step reads next
    ended: Array
    tokens: Array
    lengths: Array


@checked
def generate(
    step: Step,
    carry: Carry,
    first: Array,
    *,
    max_new_tokens: int,
    key: Array | None = None,
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    top_p: float | Array | None = None,
    eos: int | None = None,
    pad: int = 0,
) -> tuple[Carry, Array, Array]:
    """Writes a sequence after each token of `first`, until each has ended or has `max_new_tokens`.

    It is a loop of fixed shapes, for any model with a step. It does not compile itself: call it inside `jax.jit`, with
    the arrays that `step` closes over as arguments of that function; then other arrays, keys and temperatures compile
    nothing anew.

    Args:
      step: `(carry, tokens [*batch]) -> (carry, logits [*batch, V])`, the model, which reads a token and predicts the
        next.
      carry: what the model has read before `first`: leaves `[*batch, ...]`.
      first: the last token of each prompt, int `[*batch]`; `step` has not read it.
      max_new_tokens: the number of tokens after `first`, at most.
      key: draws the tokens. None: each is the likeliest, and the next three arguments have no influence.
      temperature: divides the logits; a number above 0, which may be traced.
      top_k: draws from the `top_k` likeliest tokens; None, or more than there are: from all.
      top_p: draws from the fewest likeliest tokens whose probabilities add up to `top_p` or more (nucleus sampling,
        Holtzman et al. 2020), after `top_k`; a number above 0, which may be traced; None: from all.
      eos: the token that ends a sequence. None: each has `max_new_tokens`.
      pad: stands after the end of a sequence; it need not be in the vocabulary.

    Returns:
      `(carry, tokens, lengths)`: tokens `[max_new_tokens, *batch]` in the dtype of `first`; lengths, int32 `[*batch]`,
      which count `eos`. The carry has not read the last token of each sequence, so `generate(step, carry, tokens[-1],
      …)` goes on.

    Raises:
      ShapeError: a leaf of `carry` does not begin with the axes of `first`, or `step` returns other shapes.
      ValueError: an option is out of range, such as an `eos` that is not in the vocabulary.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.embedding(5, 3), jaxrnn.gru(8), jaxrnn.dense(5))
      >>> params = model.init(jax.random.key(0), None)
      >>> @jax.jit
      ... def written(params, carry, first, key):
      ...     def step(carry, tokens):
      ...         return jaxrnn.step(model, params, carry, tokens)
      ...     return jaxrnn.generate(step, carry, first, max_new_tokens=6, key=key, temperature=0.8, eos=4)
      >>> carry = model.init_carry(params, (2,))
      >>> carry, tokens, lengths = written(params, carry, jnp.array([1, 2]), jax.random.key(1))
      >>> tokens.shape, lengths.shape
      ((6, 2), (2,))
    """
    first = tokens_of("generate", "first", first, 0, "[*batch]")
    check_drawing("generate", temperature, top_p)
    carry, size = started("generate", step, carry, first)
    check_eos("generate", eos, size)

    def body(state: _State) -> _State:
        after, logits = step(state.carry, state.last)
        now = None if key is None else jax.random.fold_in(key, state.t)
        drawn = draw(now, logits, temperature, top_k, top_p).astype(first.dtype)
        return _State(
            state.t + 1,
            select(state.ended, state.carry, after),
            # A sequence that has ended goes on reading a token that its model knows, which `pad` need not be.
            jnp.where(state.ended, state.last, drawn),
            state.ended if eos is None else state.ended | (drawn == eos),
            state.tokens.at[state.t].set(jnp.where(state.ended, pad, drawn)),
            state.lengths + jnp.where(state.ended, 0, 1),
        )

    def goes_on(state: _State) -> Array:
        return (state.t < max_new_tokens) & ~state.ended.all()

    state = _State(
        jnp.int32(0),
        carry,
        first,
        jnp.zeros(first.shape, bool),
        jnp.full((max_new_tokens, *first.shape), pad, first.dtype),
        jnp.zeros(first.shape, jnp.int32),
    )
    state = jax.lax.while_loop(goes_on, body, state)
    return state.carry, state.tokens, state.lengths
