"""`beam_search` looks for the likeliest sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.decode.stepping import Step, check_eos, started, tokens_of
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import select
from jaxrnn.types import Array, Carry


class _Beams(NamedTuple):
    """The beams after `t` steps; beams are the leading axis, so that a model sees the axes of the batch alone."""

    t: Array
    carry: Carry
    last: Array
    ended: Array
    log_p: Array
    lengths: Array
    tokens: Array  # [max_new_tokens, num_beams, *batch]
    parents: Array  # the beam that each one continued, of the same shape


@checked
def beam_search(
    step: Step,
    carry: Carry,
    first: Array,
    *,
    max_new_tokens: int,
    num_beams: int,
    length_penalty: float = 1.0,
    eos: int | None = None,
    pad: int = 0,
) -> tuple[Array, Array, Array]:
    """Looks for the likeliest sequences after each token of `first`, with `num_beams` candidates at a time.

    Each step continues every candidate by every token and keeps the `num_beams` best by
    `score = log p / length ** length_penalty`, where `p` is the probability that the model gives to the sequence. A
    sequence that has ended stays a candidate as it is. One beam is the greedy choice of `generate`; as many beams as
    there are sequences search them all.

    It does not compile itself: call it inside `jax.jit`, as `generate`. `step` runs under `jax.vmap` over the beams, so
    it sees the axes of `first`, and the beams share what it closes over, such as an encoded source.

    Args:
      step: `(carry, tokens [*batch]) -> (carry, logits [*batch, V])`, the model, which reads a token and predicts the
        next.
      carry: what the model has read before `first`: leaves `[*batch, ...]`.
      first: the last token of each prompt, int `[*batch]`; `step` has not read it.
      max_new_tokens: the number of tokens after `first`, at most.
      num_beams: the number of candidates for each sequence.
      length_penalty: 0 compares probabilities, which prefers short sequences; 1 compares means over the tokens.
      eos: the token that ends a sequence. None: each has `max_new_tokens`.
      pad: stands after the end of a sequence; it need not be in the vocabulary.

    Returns:
      `(tokens, scores, lengths)`, best first: tokens `[max_new_tokens, *batch, num_beams]` in the dtype of `first`;
      scores, float32 `[*batch, num_beams]`; lengths, int32 of the same shape, which count `eos`. Where there are fewer
      sequences than beams, the rest has score -inf, length 0 and tokens `pad`.

    Raises:
      ShapeError: a leaf of `carry` does not begin with the axes of `first`, or `step` returns other shapes.
      ValueError: an option is out of range, such as an `eos` that is not in the vocabulary.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.embedding(5, 3), jaxrnn.gru(8), jaxrnn.dense(5))
      >>> params = model.init(jax.random.key(0), None)
      >>> def step(carry, tokens):
      ...     return jaxrnn.step(model, params, carry, tokens)
      >>> carry = model.init_carry(params, (2,))
      >>> tokens, scores, lengths = jaxrnn.beam_search(
      ...     step, carry, jnp.array([1, 2]), max_new_tokens=6, num_beams=3, eos=4
      ... )
      >>> tokens.shape, bool((scores[:, :-1] >= scores[:, 1:]).all())
      ((6, 2, 3), True)
    """
    first = tokens_of("beam_search", "first", first, 0, "[*batch]")
    carry, size = started("beam_search", step, carry, first)
    check_eos("beam_search", eos, size)
    shape = (num_beams, *first.shape)

    def score(log_p: Array, lengths: Array) -> Array:
        return log_p / lengths.astype(jnp.float32) ** length_penalty

    def side_by_side(a: Array) -> Array:
        """Returns the candidates `[num_beams, *batch, V]` as `[*batch, num_beams * V]`."""
        return jnp.moveaxis(a, 0, -2).reshape(*first.shape, num_beams * size)

    def body(beams: _Beams) -> _Beams:
        after, logits = jax.vmap(step)(beams.carry, beams.last)
        # A sequence that has ended goes on in one way, at no cost: at the place of token 0.
        stays = jnp.where(jnp.arange(size) == 0, 0.0, -jnp.inf)
        gained = jnp.where(beams.ended[..., None], stays, jax.nn.log_softmax(logits.astype(jnp.float32)))
        log_p = beams.log_p[..., None] + gained
        longer = beams.lengths + jnp.where(beams.ended, 0, 1)
        places = jax.lax.top_k(side_by_side(score(log_p, longer[..., None])), num_beams)[1]
        best = jnp.moveaxis(places, -1, 0)
        parents, drawn = best // size, (best % size).astype(first.dtype)
        ended = _of(beams.ended, parents)
        return _Beams(
            beams.t + 1,
            select(ended, _of(beams.carry, parents), _of(after, parents)),
            jnp.where(ended, _of(beams.last, parents), drawn),
            ended if eos is None else ended | (drawn == eos),
            jnp.moveaxis(jnp.take_along_axis(side_by_side(log_p), places, -1), -1, 0),
            _of(longer, parents),
            beams.tokens.at[beams.t].set(jnp.where(ended, pad, drawn)),
            beams.parents.at[beams.t].set(parents),
        )

    def goes_on(beams: _Beams) -> Array:
        return (beams.t < max_new_tokens) & ~beams.ended.all()

    own = jnp.broadcast_to(jnp.arange(num_beams).reshape(-1, *[1] * first.ndim), shape)
    beams = _Beams(
        jnp.int32(0),
        jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (num_beams, *leaf.shape)), carry),
        jnp.broadcast_to(first[None], shape),
        jnp.zeros(shape, bool),
        jnp.where(own == 0, 0.0, -jnp.inf),  # one beam is alive at first: several would stay equal
        jnp.zeros(shape, jnp.int32),
        jnp.full((max_new_tokens, *shape), pad, first.dtype),
        jnp.broadcast_to(own[None], (max_new_tokens, *shape)),
    )
    beams = jax.lax.while_loop(goes_on, body, beams)
    found = beams.log_p > -jnp.inf
    tokens = jnp.where(found[None], _traced_back(own, beams.tokens, beams.parents), pad)
    scores = jnp.where(found, score(beams.log_p, jnp.maximum(beams.lengths, 1)), -jnp.inf)
    lengths = jnp.where(found, beams.lengths, 0)
    return jnp.moveaxis(tokens, 1, -1), jnp.moveaxis(scores, 0, -1), jnp.moveaxis(lengths, 0, -1)


def _of(tree: Any, beams: Array) -> Any:
    """Returns the leaves `[num_beams, *batch, ...]` of a tree at the beams of an array `[num_beams, *batch]`."""

    def leaf(a: Array) -> Array:
        return jnp.take_along_axis(a, beams.reshape(beams.shape + (1,) * (a.ndim - beams.ndim)), 0)

    return jax.tree.map(leaf, tree)


def _traced_back(own: Array, tokens: Array, parents: Array) -> Array:
    """Returns the tokens of each final beam, which follow its parents from the last step to the first."""

    def before(beams: Array, at_t: tuple[Array, Array]) -> tuple[Array, Array]:
        tokens, parents = at_t
        return _of(parents, beams), _of(tokens, beams)

    return jax.lax.scan(before, own, (tokens, parents), reverse=True)[1]
