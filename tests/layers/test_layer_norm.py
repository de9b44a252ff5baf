"""`layer_norm`, `rms_norm` and `residual`: their equations, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from compare import assert_close
from layers.cases import GRU, RESETS, B, D, T, random

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_layer_norm_is_its_equation(epsilon):
    layer, xs = jaxrnn.layer_norm(epsilon=epsilon), 3 + 2 * random(T, B, D)
    params, expected = random_params(layer, D), np.empty_like(xs)
    for at in np.ndindex(T, B):
        x = xs[at]
        deviation = np.sqrt(((x - x.mean()) ** 2).mean() + epsilon)
        expected[at] = params["scale"] * (x - x.mean()) / deviation + params["bias"]
    assert set(params) == {"scale", "bias"}
    assert_close(jaxrnn.unroll(layer, params, xs), ((), expected))


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_rms_norm_is_its_equation(epsilon):
    layer, xs = jaxrnn.rms_norm(epsilon=epsilon), 3 + 2 * random(T, B, D)
    params, expected = random_params(layer, D), np.empty_like(xs)
    for at in np.ndindex(T, B):
        expected[at] = params["scale"] * xs[at] / np.sqrt((xs[at] ** 2).mean() + epsilon)
    assert set(params) == {"scale"}
    assert_close(jaxrnn.unroll(layer, params, xs), ((), expected))


def test_norms_begin_as_the_normalisation_alone():
    assert jaxrnn.rms_norm().init(jax.random.key(0), D)["scale"].tolist() == [1.0] * D
    layer = jaxrnn.layer_norm(param_dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), D)
    assert {name: (p.dtype, p.tolist()) for name, p in params.items()} == {
        "scale": (jnp.bfloat16, [1.0] * D),
        "bias": (jnp.bfloat16, [0.0] * D),
    }


def test_norms_have_a_finite_gradient_where_they_divide_by_nothing():
    rms = jaxrnn.rms_norm()
    grad = jax.grad(lambda xs: jaxrnn.unroll(rms, random_params(rms, D), xs)[1].sum())(np.zeros((T, D)))
    assert np.isfinite(grad).all()
    layer = jaxrnn.layer_norm()
    params = random_params(layer, D)
    ys, grad = jax.value_and_grad(lambda xs: jaxrnn.unroll(layer, params, xs)[1].sum())(np.ones((T, D)))
    np.testing.assert_allclose(ys, T * params["bias"].sum(), rtol=1e-12)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("norm", [jaxrnn.layer_norm, jaxrnn.rms_norm])
def test_norms_take_their_moments_in_float32(norm):
    """In half precision, 256 squares of 300 are beyond what a sum can hold."""
    xs = jnp.asarray(300 * random(T, 256), jnp.float16)
    layer = norm(param_dtype=jnp.float16)
    params = layer.init(jax.random.key(0), 256)
    ys = jaxrnn.unroll(layer, params, xs)[1]
    assert ys.dtype == jnp.float16
    expected = jaxrnn.unroll(layer, jax.tree.map(lambda p: p.astype(float), params), xs.astype(float))[1]
    np.testing.assert_allclose(ys, expected, rtol=2e-3, atol=2e-3)


def test_residual_adds_its_input_where_valid():
    layer, xs = jaxrnn.residual(GRU), random(T, B, D)
    params, lengths = random_params(layer, D), np.array([3, 0])
    carry, ys = jaxrnn.unroll(GRU, params, xs, lengths=lengths, resets=RESETS)
    valid = np.arange(T)[:, None, None] < lengths[:, None]
    assert_close(jaxrnn.unroll(layer, params, xs, lengths=lengths, resets=RESETS), (carry, ys + np.where(valid, xs, 0)))


def test_residual_hands_its_key_on():
    layer, xs = jaxrnn.residual(jaxrnn.dropout(0.5)), np.ones((T, 200))
    ys = jaxrnn.unroll(layer, {}, xs, key=jax.random.key(0))[1]
    assert set(np.unique(ys)) == {1.0, 3.0}
