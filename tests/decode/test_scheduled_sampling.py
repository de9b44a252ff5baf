"""`scheduled_sampling` between reading and writing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close
from decode.models import CARRY, MODEL, PARAMS, B, V, step

pytestmark = pytest.mark.usefixtures("quick_compilation")

TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, V, (7, B)))


def test_a_rate_of_0_is_unrolling():
    expected = jaxrnn.unroll(MODEL, PARAMS, TOKENS)
    assert_close(jaxrnn.scheduled_sampling(step, CARRY, TOKENS, rate=0.0, key=jax.random.key(0)), expected, 1e-6)


def test_a_rate_of_1_reads_its_own_tokens():
    """Here every token is followed by the next larger one with certainty."""

    def counting(carry, tokens):
        return carry, jnp.log(jax.nn.one_hot((tokens + 1) % V, V))

    _, logits = jaxrnn.scheduled_sampling(counting, (), TOKENS, rate=1.0, key=jax.random.key(0))
    expected = (np.asarray(TOKENS[0]) + 1 + np.arange(7)[:, None]) % V
    np.testing.assert_array_equal(np.argmax(logits, -1), expected)


def test_the_rate_is_the_share_of_replaced_tokens():
    def echo(carry, tokens):  # predicts 1 always, and shows what it read
        return carry, jax.nn.one_hot(tokens, 2) + 100.0 * jax.nn.one_hot(jnp.ones_like(tokens), 2)

    tokens = jnp.zeros((1001, 20), int)
    _, logits = jaxrnn.scheduled_sampling(echo, (), tokens, rate=jnp.float32(0.3), key=jax.random.key(1))
    read = np.asarray(logits[..., 1] > 100.5)
    assert not read[0].any()
    np.testing.assert_allclose(read[1:].mean(), 0.3, atol=5 * (0.3 * 0.7 / 20_000) ** 0.5)


def test_it_has_a_gradient_and_no_steps():
    def loss(params):
        _, logits = jaxrnn.scheduled_sampling(
            lambda carry, tokens: jaxrnn.step(MODEL, params, carry, tokens),
            CARRY,
            TOKENS,
            rate=0.5,
            key=jax.random.key(2),
        )
        return -jax.nn.log_softmax(logits)[..., 0].mean()

    found = jax.grad(loss)(PARAMS)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found))
    _, none = jaxrnn.scheduled_sampling(step, CARRY, TOKENS[:0], rate=0.5, key=jax.random.key(0))
    assert none.shape == (0, B, V)


@pytest.mark.parametrize(("rate", "tokens"), [(1.5, TOKENS), (-0.1, TOKENS), ("half", TOKENS), (0.5, TOKENS * 1.0)])
def test_an_error_names_the_argument(rate, tokens):
    with pytest.raises(ValueError, match=r"scheduled_sampling: (rate is|tokens has dtype)"):
        jaxrnn.scheduled_sampling(step, CARRY, tokens, rate=rate, key=jax.random.key(0))
