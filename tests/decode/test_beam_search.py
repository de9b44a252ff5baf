"""`beam_search` beside all sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close, assert_equal
from decode.models import CARRY, FIRST, B, V, exhaustive, step

pytestmark = pytest.mark.usefixtures("quick_compilation")

L = 3
compiled = jax.jit(
    jaxrnn.beam_search, static_argnames=("step", "max_new_tokens", "num_beams", "length_penalty", "eos", "pad")
)


def sequences(tokens, lengths, row):
    """The tokens of each beam of a row up to its length."""
    tokens, lengths = np.asarray(tokens), np.asarray(lengths)
    return [tuple(tokens[:n, row, k].tolist()) for k, n in enumerate(lengths[row])]


@pytest.mark.sampled
@pytest.mark.parametrize(("penalty", "eos"), [(0.0, 3), (0.6, 0), (1.0, None), (1.0, 3), (2.0, 3)])
def test_as_many_beams_as_sequences_search_them_all(penalty, eos):
    tokens, scores, lengths = compiled(
        step, CARRY, FIRST, max_new_tokens=L, num_beams=V**L, length_penalty=penalty, eos=eos, pad=-1
    )
    assert tokens.shape == (L, B, V**L) and scores.shape == lengths.shape == (B, V**L)
    for row, expected in enumerate(exhaustive(L, penalty, eos)):
        found = sequences(tokens, lengths, row)
        assert found[: len(expected)] == [sequence for _, sequence in expected]
        assert_close(np.asarray(scores)[row, : len(expected)], np.array([score for score, _ in expected]), 1e-5)
        # There are fewer sequences that end than beams.
        rest = slice(len(expected), None)
        assert (np.asarray(scores)[row, rest] == -np.inf).all() and (np.asarray(lengths)[row, rest] == 0).all()
        assert (np.asarray(tokens)[:, row, rest] == -1).all()


@pytest.mark.parametrize("eos", [None, 3])
def test_one_beam_is_the_greedy_choice(eos):
    tokens, _, lengths = compiled(step, CARRY, FIRST, max_new_tokens=6, num_beams=1, eos=eos)
    _, greedy, greedy_lengths = jaxrnn.generate(step, CARRY, FIRST, max_new_tokens=6, eos=eos)
    assert_equal((tokens[..., 0], lengths[..., 0]), (greedy, greedy_lengths))


def test_scores_are_those_of_what_is_returned():
    beams = 5
    tokens, scores, lengths = compiled(step, CARRY, FIRST, max_new_tokens=L, num_beams=beams, length_penalty=0.7, eos=3)
    for row, every in enumerate(exhaustive(L, 0.7, 3)):
        score_of = {sequence: score for score, sequence in every}
        found = sequences(tokens, lengths, row)
        assert len(set(found)) == beams
        assert_close(np.asarray(scores)[row], np.array([score_of[sequence] for sequence in found]), 1e-5)
        assert (np.diff(np.asarray(scores)[row]) <= 0).all()


def test_vmap_and_no_axes_are_the_batch():
    options = {"max_new_tokens": L, "num_beams": 3, "eos": 0}
    expected = compiled(step, CARRY, FIRST, **options)
    mapped = jax.vmap(lambda carry, first: jaxrnn.beam_search(step, carry, first, **options), out_axes=(1, 0, 0))
    tokens, scores, lengths = mapped(CARRY, FIRST)
    assert_equal((tokens, lengths), (expected[0], expected[2]))
    assert_close(scores, expected[1], 1e-6)


def test_what_is_impossible_is_not_found():
    """Logits of minus infinity forbid tokens: three sequences are left, of which none is returned twice."""
    allowed = jnp.array([[0.0, 1.0, -jnp.inf], [-jnp.inf, 0.0, -jnp.inf], [0.0, 0.0, 0.0]])

    def forbidding(carry, tokens):
        return carry, allowed[tokens]

    tokens, scores, lengths = jaxrnn.beam_search(forbidding, (), jnp.array(0), max_new_tokens=2, num_beams=5)
    assert sorted(map(tuple, np.asarray(tokens)[:, :3].T.tolist())) == [(0, 0), (0, 1), (1, 1)]
    assert (np.asarray(scores)[3:] == -np.inf).all() and lengths.tolist() == [2, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "beam_search: num_beams is 0, expected an int of 1 or more"),
        ({"max_new_tokens": 0}, "beam_search: max_new_tokens is 0, expected an int of 1 or more"),
        ({"eos": V}, f"beam_search: eos is {V}, expected a token id from 0 to {V - 1}"),
        ({"eos": -1}, "beam_search: eos is -1, expected an int of 0 or more"),
        ({"length_penalty": float("nan")}, "beam_search: length_penalty is nan, expected a finite number"),
    ],
)
def test_an_error_names_the_option(options, message):
    with pytest.raises(ValueError, match=message):
        jaxrnn.beam_search(step, CARRY, FIRST, **{"max_new_tokens": 2, "num_beams": 2, **options})
