"""The simple recurrent unit against a loop in float64 NumPy, and its initial values."""

import jax
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of, sigma

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, H = 6, 2, 4


@pytest.mark.parametrize("width", [H, 3])
def test_equals_a_loop_in_numpy(width):
    """With the input itself on the highway, and with a projection of it."""
    cell = jaxrnn.sru(H, highway_bias=-1.0)
    rng = np.random.default_rng(0)
    shapes = shapes_of(cell, width)
    p = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    xs, start = rng.normal(size=(T, B, width)), rng.normal(size=(B, H))
    W, v, b = p["kernel"], p["recurrent_kernel"], p["bias"]
    c, expected = start, []
    for x in xs:
        f, r = (sigma(x @ W[:, g] + v[g] * c + b[g]) for g in (0, 1))
        c = f * c + (1 - f) * (x @ W[:, 2])
        skip = x * np.sqrt(1 + 2 * np.exp(-1)) if width == H else x @ W[:, 3]
        expected.append(r * c + (1 - r) * skip)
    for method in jaxrnn.methods(cell):
        carry, ys = jaxrnn.unroll(cell, p, xs, jaxrnn.HiddenCarry(start), method=method)
        np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(carry.h, c, rtol=0, atol=1e-12)


def test_gradients_reach_what_the_engine_is_not_given_as_it_stands():
    """Three gates of four in the kernel, two in the others: every entry has its own gradient."""
    cell, rng = jaxrnn.sru(H), np.random.default_rng(0)
    shapes = shapes_of(cell, H)
    params, xs = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes), rng.normal(size=(T, B, H))

    def gradient(method):
        return jax.jit(jax.grad(lambda p: (jaxrnn.unroll(cell, p, xs, method=method)[1] ** 2).sum()))(params)

    fused, looped = gradient("fused"), gradient("scan")
    for name in params:
        np.testing.assert_allclose(fused[name], looped[name], rtol=0, atol=1e-10)
        assert fused[name].shape == params[name].shape and (fused[name] != 0).all()


def test_initial_values_have_the_variances_of_the_paper():
    cell = jaxrnn.sru(200, highway_bias=-2.0)
    params = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), 100)
    f, r, x, skip = np.moveaxis(np.asarray(params["kernel"], np.float64), 1, 0) * 10  # 10 = √D
    for gate, variance in ((f, 0.5), (r, 0.5), (x, 1), (skip, 1 + 2 * np.exp(-2))):
        np.testing.assert_allclose(gate.var(), variance, rtol=0.03)
        np.testing.assert_allclose(abs(gate).max(), np.sqrt(3 * variance), rtol=0.01)  # uniform
    np.testing.assert_allclose(params["recurrent_kernel"].var(), 0.5, rtol=0.15)
    np.testing.assert_array_equal(params["bias"], np.repeat([[0], [-2]], 200, axis=1))


def test_a_deep_stack_keeps_the_variance_of_its_input():
    """Which is what the scale of the highway is for: without it the signal fades."""

    def variance(**options):
        cell, xs = jaxrnn.sru(64, **options), np.random.default_rng(0).normal(size=(40, 8, 64))
        init = jax.jit(cell.init, static_argnums=1)
        for key in jax.random.split(jax.random.key(0), 6):
            xs = jaxrnn.unroll(cell, init(key, 64), xs)[1]
        return xs.var()

    assert 0.3 < variance() < 3
    assert variance(rescale=False) < 0.1


def test_goes_without_a_bias():
    cell, xs = jaxrnn.sru(H, use_bias=False), np.ones((T, H))
    params = shapes_of(cell, H)
    assert sorted(params) == ["kernel", "recurrent_kernel"]
    assert jax.eval_shape(lambda p: jaxrnn.unroll(cell, p, xs), params)[1].shape == (T, H)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"^sru: features is 0, expected an int of 1 or more"):
        jaxrnn.sru(0)
