"""`generate`: greedy, drawn from the right distribution, ended and continued."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close, assert_equal
from decode.models import CARRY, FIRST, PARAMS, B, V, step

pytestmark = pytest.mark.usefixtures("quick_compilation")

N = 5
LOGITS = jnp.array([2.0, 0.5, 1.0, -1.0, 1.5])
DRAWS = 20_000


def greedy_by_hand(number):
    carry, token, tokens = CARRY, FIRST, []
    for _ in range(number):
        carry, logits = step(carry, token)
        token = jnp.argmax(logits, -1).astype(FIRST.dtype)
        tokens.append(token)
    return carry, jnp.stack(tokens)


def test_without_a_key_each_token_is_the_likeliest():
    carry, tokens, lengths = jaxrnn.generate(step, CARRY, FIRST, max_new_tokens=N)
    expected = greedy_by_hand(N)
    assert_equal(tokens, expected[1])
    assert_close(carry, expected[0], 1e-6)
    assert tokens.shape == (N, B) and tokens.dtype == FIRST.dtype and lengths.tolist() == [N] * B


def test_it_goes_on_from_its_carry_and_last_token():
    _, whole, _ = jaxrnn.generate(step, CARRY, FIRST, max_new_tokens=N)
    carry, early, _ = jaxrnn.generate(step, CARRY, FIRST, max_new_tokens=2)
    _, late, _ = jaxrnn.generate(step, carry, early[-1], max_new_tokens=N - 2)
    assert_equal(jnp.concatenate([early, late]), whole)


def test_a_sequence_that_has_ended_stays():
    """Rows end at different steps here: the tokens are the carry's, whatever is read."""
    written = jnp.array([[3, 1, 2, 1, 1], [1, 1, 1, 1, 1], [1, 3, 3, 1, 1]])

    def dictated(carry, tokens):
        return carry + 1, jax.nn.one_hot(jnp.take_along_axis(written, carry[:, None], 1)[:, 0], V)

    carry, tokens, lengths = jaxrnn.generate(dictated, jnp.zeros(3, int), FIRST, max_new_tokens=5, eos=3, pad=-7)
    assert tokens.T.tolist() == [[3, -7, -7, -7, -7], [1, 1, 1, 1, 1], [1, 3, -7, -7, -7]]
    assert lengths.tolist() == [1, 5, 2] and carry.tolist() == [1, 5, 2]


def test_it_stops_when_all_have_ended():
    """The steps that run are counted by a callback."""
    ran = []

    def counted(carry, tokens):
        jax.debug.callback(lambda: ran.append(1))
        return carry, jnp.broadcast_to(jnp.eye(V)[2], (*tokens.shape, V))

    _, tokens, lengths = jaxrnn.generate(counted, (), FIRST, max_new_tokens=50, eos=2)
    jax.effects_barrier()
    assert len(ran) == 1 and lengths.tolist() == [1] * B and (np.asarray(tokens)[1:] == 0).all()


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 4]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.5}, [0, 4]),  # probabilities 0.44 0.10 0.16 0.02 0.27
        ({"top_p": 0.43}, [0]),
        ({"top_p": 1e-9}, [0]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"temperature": 2.0, "top_k": 4, "top_p": 0.8}, [0, 2, 4]),
    ],
)
def test_frequencies_are_those_of_the_truncated_distribution(options, kept):
    weights = np.zeros(5)
    weights[kept] = np.exp(np.asarray(LOGITS, float)[kept] / options.get("temperature", 1.0))
    expected = weights / weights.sum()
    first = jnp.zeros(DRAWS, int)
    _, tokens, _ = jaxrnn.generate(
        lambda carry, tokens: (carry, jnp.broadcast_to(LOGITS, (*tokens.shape, 5))),
        (),
        first,
        max_new_tokens=1,
        key=jax.random.key(3),
        **options,
    )
    found = np.bincount(np.asarray(tokens[0]), minlength=5) / DRAWS
    assert (found[expected == 0] == 0).all()
    # Five standard deviations of a frequency.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5 * 0.5 / DRAWS**0.5)


def test_of_equal_logits_exactly_top_k_are_drawn():
    _, tokens, _ = jaxrnn.generate(
        lambda carry, tokens: (carry, jnp.zeros((*tokens.shape, 6))),
        (),
        jnp.zeros(500, int),
        max_new_tokens=1,
        key=jax.random.key(0),
        top_k=2,
    )
    assert set(np.asarray(tokens[0]).tolist()) == {0, 1}


def test_another_call_compiles_nothing():
    traced = []

    @jax.jit
    def written(params, carry, first, key, temperature, top_p):
        traced.append(1)
        return jaxrnn.generate(
            step, carry, first, max_new_tokens=N, key=key, temperature=temperature, top_p=top_p, eos=0
        )

    for seed in (0, 1, 2):
        _, tokens, _ = written(PARAMS, CARRY, FIRST, jax.random.key(seed), 0.5 + seed, 0.9 - seed / 10)
        assert ((np.asarray(tokens) >= 0) & (np.asarray(tokens) < V)).all()
    assert traced == [1]


def test_vmap_and_no_axes_are_the_batch():
    expected = jaxrnn.generate(step, CARRY, FIRST, max_new_tokens=N, eos=0)
    mapped = jax.vmap(
        lambda carry, first: jaxrnn.generate(step, carry, first, max_new_tokens=N, eos=0), out_axes=(0, 1, 0)
    )
    assert_close(mapped(CARRY, FIRST), expected, 1e-6)


def test_a_carry_takes_the_dtype_of_the_step():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), CARRY)
    carry, _, _ = jaxrnn.generate(step, half, FIRST, max_new_tokens=2)
    assert {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_p": 0}, "generate: top_p is 0, expected a probability above 0 and up to 1, or None"),
        ({"top_p": 1.5}, "generate: top_p is 1.5"),
        ({"top_p": True}, "generate: top_p is True"),
        ({"top_k": 0}, "generate: top_k is 0, expected an int of 1 or more"),
        (
            {"temperature": 0},
            "generate: temperature is 0, expected a finite number above 0; key=None takes the likeliest",
        ),
        ({"temperature": jnp.ones(3)}, "generate: temperature is an array of shape \\(3,\\)"),
        ({"eos": V}, f"generate: eos is {V}, expected a token id from 0 to {V - 1}"),
        ({"pad": 0.5}, "generate: pad is 0.5, expected an int"),
        ({"key": 3}, "generate: key is 3, expected a PRNG key"),
        ({"max_new_tokens": 0}, "generate: max_new_tokens is 0"),
        ({"first": jnp.ones(B)}, "generate: first has dtype float32, expected an integer one"),
        (
            {"first": jnp.ones(2, int)},
            "generate: carry.* has shape .*, expected one that begins with the batch \\(2,\\) of first",
        ),
        ({"step": lambda carry, tokens: tokens}, "generate: step returns .*, expected \\(carry, logits\\)"),
        ({"step": lambda carry, tokens: ((), tokens)}, "generate: step returns a carry of structure"),
        ({"step": lambda carry, tokens: (carry, tokens)}, "generate: step returns logits of shape \\(3,\\)"),
        ({"step": lambda carry, tokens: (carry, jnp.zeros((3, 4), int))}, "generate: step returns logits of dtype int"),
        ({"step": lambda carry, tokens: (carry, None)}, "generate: step returns logits that are None"),
    ],
)
def test_an_error_names_the_argument(changes, message):
    given = {"step": step, "carry": CARRY, "first": FIRST, "max_new_tokens": 2, "key": jax.random.key(0), **changes}
    with pytest.raises(ValueError, match=message):
        jaxrnn.generate(given.pop("step"), given.pop("carry"), given.pop("first"), **given)
