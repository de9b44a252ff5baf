"""Mamba and the blocks of Griffin and Mamba against loops in float64 NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, shapes_of, sigma, silu, softplus

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, N, R = 6, 2, 3, 4, 5, 2


def gelu(x):
    """Its usual approximation."""
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def conv(p, xs):
    """Depthwise, over what came before; `kernel[n]` multiplies the input of `n` steps ago."""
    kernel = p["depthwise_kernel"]
    padded = np.concatenate([np.zeros((len(kernel) - 1, xs.shape[1])), xs])
    return np.array([(padded[t : t + len(kernel)][::-1] * kernel).sum(0) for t in range(len(xs))]) + p["bias"]


def s6(p, us):
    """`h = exp(Δ A) h + Δ B u`, `y = C h + d u`, with a state of N for each feature."""
    h, ys = np.zeros_like(p["log_rate"]), []
    for u in us:
        step = softplus(u @ p["step_down"] @ p["step_up"] + p["step_bias"])
        A, B, C = -np.exp(p["log_rate"]), u @ p["input"], u @ p["read"]
        for i in range(len(u)):
            h[i] = np.exp(step[i] * A[i]) * h[i] + step[i] * B * u[i]
        ys.append(h @ C + p["skip"] * u)
    return np.array(ys)


def rg_lru(p, us):
    """`log a = −8 r softplus(Λ)`, `h = a h + √(1 − a²) i u`; the first step adds `i u` whole."""
    h, hs = 0, []
    for t, u in enumerate(us):
        r, i = (sigma(u @ p["kernel"][:, g] + p["bias"][g]) for g in (0, 1))
        a = np.exp(-8 * r * softplus(p["decay"]))
        h = a * h + (np.sqrt(1 - a**2) if t else 1) * i * u
        hs.append(h)
    return np.array(hs)


def griffin_block(p, xs):
    x, gate = (xs @ p["kernel"][:, i] + p["bias"][i] for i in (0, 1))
    inner = rg_lru(p["branch"]["layer_1"], conv(p["branch"]["layer_0"], x))
    return (inner * gelu(gate)) @ p["out"] + p["out_bias"]


def mamba_block(p, xs):
    x, gate = (xs @ p["kernel"][:, i] for i in (0, 1))
    inner = s6(p["branch"]["layer_1"], silu(conv(p["branch"]["layer_0"], x)))
    return (inner * silu(gate)) @ p["out"]


def mamba(p, xs):
    return s6(p, xs @ p["kernel"][:, 0])


LAYERS = {
    mamba: jaxrnn.rnn(jaxrnn.mamba(H, states=N, rank=R)),
    griffin_block: jaxrnn.griffin_block(H, width=5),
    mamba_block: jaxrnn.mamba_block(H, expand=2, states=N, rank=R, kernel_size=3),
}


def initial(layer, in_features):
    return jax.jit(layer.init, static_argnums=1)(jax.random.key(0), in_features)


@pytest.mark.parametrize("equation", LAYERS, ids=lambda e: e.__name__)
def test_equals_a_loop_in_numpy(equation):
    layer = LAYERS[equation]
    params, xs = random_params(layer, D), np.random.default_rng(1).normal(size=(T, B, D))
    expected = np.stack([equation(params, xs[:, b]) for b in range(B)], axis=1)
    np.testing.assert_allclose(jax.jit(partial(jaxrnn.unroll, layer))(params, xs)[1], expected, rtol=0, atol=1e-12)


# --- extremes ------------------------------------------------------------------------------------------------------


def test_steps_of_any_length_stay_finite():
    """`Δ = 0`: nothing is forgotten; `Δ = 60`: everything."""
    cell = jaxrnn.mamba(2, states=2, use_value_kernel=False)
    params = initial(cell, 2)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(2048, 2)), jnp.float32)
    run = jax.jit(jax.value_and_grad(lambda p, xs: jaxrnn.unroll(cell, p, xs)[1].mean(), (0, 1)))
    for size in (-60, 60):
        out = run(params | {"step_bias": jnp.full(2, size, jnp.float32)}, xs)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))


# --- sizes ---------------------------------------------------------------------------------------------------------


def test_mamba_takes_a_sixteenth_of_its_width_for_steps():
    """Of the block's width, not of the state space's."""
    shapes = [
        jax.eval_shape(lambda key, layer=layer: layer.init(key, 33), jax.random.key(0))
        for layer in (jaxrnn.mamba(33), jaxrnn.mamba_block(33))
    ]
    assert shapes[0]["step_down"].shape == (33, 3)
    assert shapes[1]["branch"]["layer_1"]["step_down"].shape == (66, 3)


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = {
    "mamba: features is 0, expected an int of 1 or more": lambda: jaxrnn.mamba(0),
    "mamba: states is 0, expected": lambda: jaxrnn.mamba(4, states=0),
    "mamba: rank is 0, expected": lambda: jaxrnn.mamba(4, rank=0),
    "mamba: dt_min is 0.2 and dt_max 0.1, expected 0 < dt_min < dt_max": lambda: jaxrnn.mamba(4, dt_min=0.2),
    "mamba: inputs have 3 features, expected 4, the width of the state": lambda: shapes_of(
        jaxrnn.mamba(4, use_value_kernel=False), D
    ),
    "rg_lru: inputs have 3 features, expected 4, the width of the state": lambda: shapes_of(
        jaxrnn.rg_lru(4, use_value_kernel=False), D
    ),
    "griffin_block: width is 0, expected an int of 1 or more": lambda: jaxrnn.griffin_block(4, width=0),
    "mamba_block: expand is 0, expected an int of 1 or more": lambda: jaxrnn.mamba_block(4, expand=0),
    "unroll: lengths and mask are both given": lambda: jaxrnn.unroll(
        LAYERS[mamba_block],
        random_params(LAYERS[mamba_block], D),
        jnp.ones((T, D)),
        lengths=jnp.array(3),
        mask=jnp.ones(T),
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
