"""Fourier recurrent unit against a loop in float64 NumPy, and what its state holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from cells.equations import B, D, H
from cells.test_linear_initializers import centred, initial
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)
T, K, S = 12, 5, 3
CELL = jaxrnn.fru(H, length=T, frequencies=K, stats_features=S, recurrent_features=4)
FREQUENCIES = [0.0, 0.25, *(0.25 * (T / 0.25) ** (k / 3) for k in (1, 2, 3))]


def fru(p, xs, u, first):
    """Zhang et al. 2018, section 3, frequency by frequency, from step `first` on."""
    ys = []
    for t, x in enumerate(xs, first):
        g = np.maximum(0, u.reshape(B, -1) @ p["recurrent_kernel"][:, 0] + p["recurrent_bias"])
        h = np.maximum(0, g @ p["backbone_kernel"][:, 0] + x @ p["kernel"][:, 0] + p["bias"][0])
        waves = [np.cos(2 * np.pi * (f * t / T + theta)) for f, theta in zip(FREQUENCIES, p["phase"], strict=True)]
        u = np.stack([u[:, k] + wave * h / T for k, wave in enumerate(waves)], axis=1)
        ys.append(np.maximum(0, u.reshape(B, -1) @ p["out"] + p["out_bias"]))
    return u, np.stack(ys)


def test_equals_a_loop_in_numpy():
    params, draw = random_params(CELL, D), np.random.default_rng(0)
    u, xs = draw.normal(size=(B, K, S)), draw.normal(size=(9, B, D))
    for first in (0, 4):
        carry = CELL.init_carry(params, (B,))._replace(u=u, steps=np.full(B, first, np.int32))
        after, ys = jaxrnn.unroll(CELL, params, xs, carry)
        assert_close((after.u, ys), fru(params, xs, u, first), 1e-12)
        np.testing.assert_array_equal(after.steps, first + 9)


def test_a_gradient_reaches_the_first_of_a_thousand_steps_where_that_of_an_elman_network_vanishes():
    """As drawn: that of the last state by the first one is between 0.5 and 2, in norm; the other is below 1e-20."""
    steps = 1000
    cell, peer = jaxrnn.fru(8, length=steps), jaxrnn.elman(8, recurrent_kernel_init=jaxrnn.initializers.lecun_normal)
    xs = jax.random.normal(KEY, (steps, D))

    def norm(cell, field):
        params = cell.init(KEY, D)
        first = cell.init_carry(params)

        def last(state):
            return jaxrnn.unroll(cell, params, xs, first._replace(**{field: state}))[0]._asdict()[field]

        state = getattr(first, field)
        way = jax.random.normal(KEY, state.shape, state.dtype)
        way /= jnp.linalg.norm(way)
        return float(jit(lambda way: jnp.linalg.norm(jax.jvp(last, (state,), (way,))[1]))(way))

    assert 0.5 < norm(cell, "u") < 2
    assert norm(peer, "h") < 1e-20


def test_without_feedback_the_state_is_a_cosine_transform_of_the_input():
    cell = jaxrnn.fru(1, length=T, frequencies=K, stats_features=1, activation=lambda x: x)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1)) | {"kernel": jnp.ones((1, 1, 1))}
    signal = np.random.default_rng(1).normal(size=T)
    expected = [np.mean(signal * np.cos(2 * np.pi * f * np.arange(T) / T)) for f in FREQUENCIES]
    np.testing.assert_allclose(jaxrnn.unroll(cell, params, signal[:, None])[0].u[:, 0], expected, atol=1e-12)


@pytest.mark.every
def test_biases_may_be_left_out():
    bare = jaxrnn.fru(H, length=T, frequencies=K, stats_features=S, recurrent_features=4, use_bias=False)
    params, xs = random_params(CELL, D), np.random.default_rng(0).normal(size=(9, B, D))
    without = {name: 0 * p if "bias" in name else p for name, p in params.items()}
    some = {name: p for name, p in params.items() if "bias" not in name}
    assert bare.init(KEY, D).keys() == some.keys()
    assert_close(jaxrnn.unroll(bare, some, xs)[1], jaxrnn.unroll(CELL, without, xs)[1], 1e-12)


def test_starts_as_in_the_authors_code():
    """From a normal distribution that is cut at two standard deviations of 0.1."""
    params = initial(jaxrnn.fru(64, frequencies=200), 32)
    for name in ("kernel", "recurrent_kernel", "backbone_kernel", "out", "phase"):
        assert np.abs(params[name]).max() <= 0.2 and centred(params[name], 0.00774)
    assert not any(params[name].any() for name in ("bias", "recurrent_bias", "out_bias"))
