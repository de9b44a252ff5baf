"""RWKV-7 against a loop in float64 NumPy, its last input, and its initial values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, sigma
from compare import assert_close

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, N, K, V = 7, 2, 3, 6, 2, 4, 5
CELL = jaxrnn.rwkv7(H, heads=N, keys=K, values=V, rank=2, gate_rank=3, chunk=3)
PARAMS, XS = random_params(CELL, D), np.random.default_rng(1).normal(size=(T, B, D))
RESETS = np.array([[0, 1], [0, 0], [1, 0], [0, 1], [0, 1], [0, 0], [0, 0]], bool)


def looped(p, xs):
    """One row by the paper's equations, where a state has the values for rows; zeros before the first input."""
    wkv, before, ys = np.zeros((N, V, K)), np.zeros(D), []
    for x in xs:
        r, d, k, v, a, g = (x + (before - x) * mu for mu in p["mix"])
        y = np.zeros(H)
        for n in range(N):
            receptance, key, value = r @ p["query"][:, n], k @ p["key"][:, n], v @ p["value"][:, n]
            decay = np.tanh(d @ p["decay_down"]) @ p["decay_up"][:, n] + p["decay_bias"][n]
            w = np.exp(-np.exp(-0.5) * sigma(decay))
            rate = sigma(a @ p["rate_down"] @ p["rate_up"][:, n] + p["rate_bias"][n])
            removed = key * p["erase"][n]
            removed = removed / np.sqrt((removed**2).sum() + 1e-6)
            replaced = key * (1 + (rate - 1) * p["replace"][n])
            wkv[n] = wkv[n] @ (np.diag(w) - np.outer(removed, rate * removed)) + np.outer(value, replaced)
            out = wkv[n] @ receptance
            out = p["scale"][n] * (out - out.mean()) / np.sqrt(out.var() + 64e-5) + p["bias"][n]
            out = out + (receptance @ (p["bonus"][n] * replaced)) * value
            y += (sigma(g @ p["gate_down"]) @ p["gate_up"][:, n] * out) @ p["out"][n]
        before = x
        ys.append(y)
    return np.array(ys), wkv


@pytest.mark.parametrize("method", ["auto", "scan", "chunked"])
def test_equals_a_loop_in_numpy(method):
    params, xs = PARAMS, XS
    expected, states = zip(*(looped(params, xs[:, b]) for b in range(B)), strict=True)
    carry, ys = jaxrnn.unroll(CELL, params, xs, method=method)
    np.testing.assert_allclose(ys, np.stack(expected, 1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(carry.S, np.swapaxes(states, -1, -2), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(carry.x, xs[-1])
    single = jax.tree.map(np.float32, (params, xs))
    _, ys = jaxrnn.unroll(CELL, *single, method=method)
    assert ys.dtype == np.float32
    np.testing.assert_allclose(ys, np.stack(expected, 1), rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_last_input_is_the_last_valid_one_and_a_reset_forgets_it():
    params, xs = PARAMS, XS
    mask, resets = np.array([1, 0, 1, 1, 0, 1, 1], bool), np.array([0, 0, 0, 0, 1, 0, 0], bool)
    expected = np.concatenate([looped(params, xs[steps, 0])[0] for steps in ([0, 2, 3], [5, 6])])
    carry, ys = jaxrnn.unroll(CELL, params, xs[:, 0], mask=mask, resets=resets)
    np.testing.assert_allclose(ys[mask], expected, rtol=0, atol=1e-12)
    assert (ys[~mask] == 0).all()
    stopped, _ = jaxrnn.unroll(CELL, params, xs[:, 0], mask=np.arange(T) < 3)
    np.testing.assert_array_equal(stopped.x, xs[2, 0])
    np.testing.assert_array_equal(carry.x, xs[-1, 0])


def test_a_learned_carry_is_what_resets_start_from():
    """Both of its parts."""
    cell = jaxrnn.learned_carry(CELL)
    params, xs = PARAMS, XS
    params = params | {"initial_x": np.arange(1.0, D + 1), "initial_S": np.cos(np.arange(N * K * V)).reshape(N, K, V)}
    run = partial(jaxrnn.unroll, cell, params, xs, resets=RESETS, reverse=True)
    assert_close(run(method="chunked"), run(method="scan"), 1e-12)


def test_half_precision_carries_what_it_has_seen_in_single():
    params, xs = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), (PARAMS, XS))
    carry, ys = jaxrnn.unroll(CELL, params, xs)
    assert (carry.x.dtype, carry.S.dtype, ys.dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(carry.x, xs[-1])
    whole, _ = jaxrnn.unroll(CELL, *jax.tree.map(np.float32, (params, xs)))
    np.testing.assert_allclose(carry.S, whole.S, rtol=0, atol=0.05 * abs(whole.S).max())


# --- initial values ------------------------------------------------------------------------------------------------


def test_initial_values_are_those_of_the_first_layer():
    cell = jaxrnn.rwkv7(64, heads=4)
    params = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), 32)
    assert {name: params[name].shape for name in ("decay_down", "rate_up", "gate_down", "gate_up")} == {
        "decay_down": (32, 32),
        "rate_up": (32, 4, 16),
        "gate_down": (32, 32),
        "gate_up": (32, 4, 16),
    }
    assert jax.eval_shape(lambda key: jaxrnn.rwkv7(400).init(key, 3), jax.random.key(0))["gate_up"].shape[0] == 96
    c, t = np.arange(32) / 32, np.arange(64) / 63
    within = (np.arange(64) % 16 - 7.5) / 7.5
    expected = {
        "mix": 1 - np.stack([c**power for power in (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)]),
        "decay_bias": -6 + 6 * t + 0.5 + 2.5 * within * abs(within),
        "rate_bias": -0.19 + 0.3 * within * abs(within) + 0.4 * (t - 0.5),
        "erase": 0.71 - 0.1 * (t - 0.5),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(params[name].reshape(value.shape), value, atol=1e-5)
    constants = {
        "replace": 1.02,
        "bonus": -0.04,
        "scale": 1,
        "bias": 0,
        "decay_down": 0,
        "rate_down": 0,
        "gate_down": 0,
    }
    for name, value in constants.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-6)
    for name in ("decay_up", "rate_up", "gate_up"):
        rows = params[name].reshape(32, 64)
        np.testing.assert_allclose(rows @ rows.T, 0.01 * np.eye(32), atol=1e-6)
    assert (params["decay_up"] != params["rate_up"]).all()
    for name, inputs in (("query", 32), ("key", 32), ("value", 32), ("out", 64)):
        np.testing.assert_allclose(params[name].std(), inputs**-0.5, rtol=0.1)


def test_more_rows_than_columns_keep_the_columns_orthogonal():
    cell = jaxrnn.rwkv7(2, heads=1, rank=8)
    up = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), D)["rate_up"].reshape(8, 2)
    np.testing.assert_allclose(up.T @ up, 0.01 * 8 / 2 * np.eye(2), atol=1e-7)


ERRORS = {
    "rwkv7: features is 0, expected an int of 1 or more": lambda: jaxrnn.rwkv7(0),
    "rwkv7: heads is 4, expected a divisor of features, 6, or keys and values": lambda: jaxrnn.rwkv7(6),
    "rwkv7: keys is 0, expected an int of 1 or more": lambda: jaxrnn.rwkv7(4, keys=0),
    "rwkv7: rank is 0, expected an int of 1 or more": lambda: jaxrnn.rwkv7(4, rank=0),
    "rwkv7: gate_rank is 0.5, expected an int of 1 or more": lambda: jaxrnn.rwkv7(4, gate_rank=0.5),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
