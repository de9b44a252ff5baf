"""xLSTM's block against the published equations, unscaled, in float64 NumPy; its extremes and initial values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, sigma, silu
from compare import assert_close

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, E, N = 7, 2, 3, 4, 12, 2
K = E // N
LAYER = jaxrnn.mlstm_block(H, expand=3, heads=N, block_size=4, kernel_size=3, chunk=3)
RUN = jax.jit(partial(jaxrnn.unroll, LAYER))


def random(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def by_blocks(kernels, x):
    """Each kernel sees its own part of `x`, and no two see the same."""
    parts = np.split(x, len(kernels))
    return np.concatenate([part @ kernel[:, 0] for part, kernel in zip(parts, kernels, strict=True)])


def by_numpy(p, xs):
    """One sequence."""
    conv, p, kernel, out = p["branch"]["layer_0"], p["branch"]["layer_1"], p["kernel"], p["out"]
    us = xs @ kernel[:, 0]
    C, n, ys = np.zeros((N, K, K)), np.zeros((N, K)), []
    for t, x in enumerate(xs):
        c = silu(sum(conv["depthwise_kernel"][s] * us[t - s] for s in range(min(t + 1, 3))) + conv["bias"])
        q, k, v = by_blocks(p["query"], c), by_blocks(p["key"], c), by_blocks(p["value"], us[t])
        z = np.concatenate([q, k, v])
        i, f = np.exp(z @ p["rate"][:, 0] + p["rate_bias"][0]), sigma(z @ p["rate"][:, 1] + p["rate_bias"][1])
        hs = []
        for m, (q_m, k_m, v_m) in enumerate(zip(np.split(q, N), np.split(k, N), np.split(v, N), strict=True)):
            C[m] = f[m] * C[m] + i[m] * np.outer(v_m, k_m / np.sqrt(K))
            n[m] = f[m] * n[m] + i[m] * k_m / np.sqrt(K)
            h = C[m] @ q_m / max(abs(n[m] @ q_m), 1)
            hs.append((h - h.mean()) / np.sqrt(h.var() + 1e-6))
        h = p["scale"] * np.concatenate(hs) + p["skip"] * c
        ys.append((h * silu(x @ kernel[:, 1])) @ out)
    return np.array(ys)


def test_equals_the_unscaled_equations_in_single_precision():
    params, xs = random_params(LAYER, D), random(T, B, D)
    expected = np.stack([by_numpy(params, xs[:, b]) for b in range(B)], axis=1)
    ys = RUN(*jax.tree.map(np.float32, (params, xs)))[1]
    assert ys.dtype == np.float32
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_equals_the_unscaled_equations_and_their_gradient():
    params, xs = random_params(LAYER, D), random(T, D)
    weights = random(T, H, seed=2)

    def loss(params, xs):
        ys = jaxrnn.unroll(LAYER, params, xs)[1]
        return (weights * ys).sum(), ys

    gradient, ys = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, xs)
    np.testing.assert_allclose(ys, by_numpy(params, xs), rtol=0, atol=1e-11)
    direction = random_params(LAYER, D, seed=3), random(T, D, seed=4)

    def along(size):
        return (weights * by_numpy(*jax.tree.map(lambda a, d: a + size * d, (params, xs), direction))).sum()

    slope = sum(np.vdot(*pair) for pair in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    np.testing.assert_allclose(slope, (along(1e-6) - along(-1e-6)) / 2e-6, rtol=1e-7)


def test_a_prefill_in_chunks_is_followed_by_single_steps():
    params, xs = random_params(LAYER, D), random(T, D)

    @jax.jit
    def parted(params, xs):
        carry, early = jaxrnn.unroll(LAYER, params, xs[:4])
        carry, late = jax.lax.scan(lambda carry, x: LAYER.step(params, carry, x), carry, xs[4:])
        return carry, jnp.concatenate([early, late])

    whole, ys = RUN(params, xs)
    assert_close(parted(params, xs), (whole, ys), 1e-12)


def test_half_precision_is_only_that_of_inputs_and_outputs():
    params, xs = jax.tree.map(np.float32, (random_params(LAYER, D), random(T, B, D)))
    carry, ys = RUN(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params), xs.astype(jnp.bfloat16))
    assert ys.dtype == jnp.bfloat16
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(carry))
    expected = RUN(params, xs)[1]
    assert np.sqrt(((ys - expected) ** 2).mean()) < 0.03 * expected.std()


def test_gates_of_any_size_stay_finite_over_many_steps():
    """Where no input comes in, only what goes past the memory is left."""
    layer = jaxrnn.mlstm_block(2, heads=1)
    params, xs = jax.tree.map(np.float32, (random_params(layer, 2), random(4096, 2)))
    cell = params["branch"]["layer_1"]
    cell["rate"] = np.zeros_like(cell["rate"])

    @jax.jit
    def run(params, xs):
        def loss(params, xs):
            ys = jaxrnn.unroll(layer, params, xs)[1]
            return (ys**2).mean(), ys

        return jax.grad(loss, (0, 1), has_aux=True)(params, xs)

    past = run(params | {"branch": params["branch"] | {"layer_1": cell | {"scale": np.zeros_like(cell["scale"])}}}, xs)
    for gain in (-80, 80):
        for forget in (-80, 80):
            cell["rate_bias"] = np.float32([[gain], [forget]])
            out = run(params, xs)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))
            assert out[1].dtype == np.float32
            assert np.allclose(out[1], past[1], atol=1e-6) == (gain < 0)


def test_initial_values():
    """The gates see no input; forgetting begins slowly, at another rate in each head; inputs go past the memory."""
    layer = jaxrnn.mlstm_block(128, heads=32, block_size=8)
    params = jax.jit(layer.init, static_argnums=1)(jax.random.key(0), 64)
    cell = params["branch"]["layer_1"]
    assert not cell["rate"].any()
    np.testing.assert_allclose(cell["rate_bias"][1], np.linspace(3, 6, 32), rtol=1e-6)
    assert 0.07 < cell["rate_bias"][0].std() < 0.13
    for name in ("skip", "scale"):
        np.testing.assert_array_equal(cell[name], np.ones(256))
    for name in ("query", "key", "value"):
        assert cell[name].shape == (32, 8, 1, 8)
        np.testing.assert_allclose(cell[name].std() * np.sqrt(8), 1, atol=0.05)
    assert params["kernel"].shape == (64, 2, 256)
    np.testing.assert_allclose(params["kernel"].std() * 8, 1, atol=0.05)
    np.testing.assert_allclose(params["out"].std() * 16, 1, atol=0.05)
    assert not params["branch"]["layer_0"]["bias"].any()


ERRORS = {
    "mlstm_block: features is 0, expected an int of 1 or more": lambda: jaxrnn.mlstm_block(0),
    "mlstm_block: expand is 1.5, expected an int of 1 or more": lambda: jaxrnn.mlstm_block(4, expand=1.5),
    "mlstm_block: block_size is 0, expected an int of 1 or more": lambda: jaxrnn.mlstm_block(4, block_size=0),
    "mlstm_block: chunk is 0, expected an int of 1 or more": lambda: jaxrnn.mlstm_block(4, chunk=0),
    r"mlstm_block: heads is 4, expected a divisor of expand \* features, 6": lambda: jaxrnn.mlstm_block(3),
    r"mlstm_block: block_size is 3, expected a divisor of expand \* features, 8": lambda: jaxrnn.mlstm_block(
        4, block_size=3
    ),
    "unroll: lengths and mask are both given": lambda: jaxrnn.unroll(
        LAYER, random_params(LAYER, D), jnp.ones((T, D)), lengths=jnp.array(3), mask=jnp.ones(T)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
