"""The sLSTM against a loop in float64 NumPy without a stabiliser, and its exponential gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import sigma
from cells.equations import B, D, H, T, every_equation, gates, hold

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def blocks(p):
    """The block-diagonal kernel `[H, G, H]` of heads that do not see each other."""
    heads, width, count, _ = p["recurrent_kernel"].shape
    U = np.zeros((heads * width, count, heads * width))
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        U[own, :, own] = p["recurrent_kernel"][head]
    return p | {"recurrent_kernel": U}


def slstm(p, x, c, n, m, h):
    """Beck et al. 2024, equations 8 to 14, without a stabiliser: `c exp(m)` and `n exp(m)` are the paper's c and n."""
    i, f, g, o = gates(blocks(p), x, h)
    i, f = np.exp(i), sigma(f)
    c, n = f * c * np.exp(m) + i * np.tanh(g), f * n * np.exp(m) + i
    h = sigma(o) * c / n
    m = np.maximum(np.log(f) + m, np.log(i))  # equation 15
    return (c * np.exp(-m), n * np.exp(-m), m, h), h


def slstm_exp(p, x, c, n, m, h):
    i, f, g, o = gates(blocks(p), x, h)
    i, f = np.exp(i), np.exp(f)
    c, n = f * c * np.exp(m) + i * np.tanh(g), f * n * np.exp(m) + i
    h = sigma(o) * c / n
    m = np.maximum(np.log(f) + m, np.log(i))
    return (c * np.exp(-m), n * np.exp(-m), m, h), h


EQUATIONS = {
    slstm: jaxrnn.slstm(H, heads=2),
    slstm_exp: jaxrnn.slstm(H, heads=2, forget="exp"),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


def test_each_head_has_a_ladder_of_its_own():
    bias = jaxrnn.slstm(8, heads=2).init(KEY, D)["bias"][1]
    np.testing.assert_allclose(bias, np.tile([3.0, 4.0, 5.0, 6.0], 2), atol=1e-6)


@pytest.mark.every
@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_exponential_gates_do_not_overflow(forget):
    """Pre-activations of ±600, whose exponentials single precision cannot hold, in values and gradients."""
    cell = jaxrnn.slstm(H, heads=2, forget=forget)
    params = cell.init(KEY, D)
    xs = 600 * jnp.sign(jax.random.normal(KEY, (T, B, D), jnp.float32))

    def loss(params, xs):
        carry, ys = jaxrnn.unroll(cell, params, xs, resets=jnp.zeros((T, B), bool).at[3].set(True))
        return (ys**2).sum() + (carry.c / carry.n).sum(), ys

    (_, ys), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert jnp.isfinite(ys).all() and (jnp.abs(ys) <= 1).all() and (ys != 0).any()


def test_an_slstm_is_a_mean_of_what_it_took_in():
    """With a forget gate that is open and equal input gates, `c / n` is the mean of all candidates so far."""
    cell = jaxrnn.slstm(1, forget="exp", forget_bias=0.0, forget_spread=0.0)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1)) | {"kernel": jnp.array([[[0.0], [0.0], [1.0], [0.0]]])}
    xs = jax.random.normal(KEY, (T, 1))
    _, ys = jaxrnn.unroll(cell, params, xs)
    means = np.cumsum(np.tanh(xs[:, 0])) / np.arange(1, T + 1)
    np.testing.assert_allclose(ys[:, 0], 0.5 * means, atol=1e-6)
