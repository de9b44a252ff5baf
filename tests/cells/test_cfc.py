"""Closed-form continuous-time cells against loops in float64 NumPy, and how time acts in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import sigma
from cells.equations import B, D, H, T, every_equation, hold

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def backbone(p, x, h):
    """Two layers of it; the last feature of `x` is left out."""
    s = 1.7159 * np.tanh(0.666 * (x[:, :-1] @ p["kernel"][:, 0] + h @ p["recurrent_kernel"][:, 0] + p["bias"][0]))
    s = 1.7159 * np.tanh(0.666 * (s @ p["backbone_kernel"][:, 0] + p["backbone_bias"][0]))
    return [s @ p["head_kernel"][:, k] + b for k, b in enumerate(p["head_bias"])]


def cfc_default(p, x, h):
    """Hasani et al. 2022, equation 5."""
    f, g, a, b = backbone(p, x, h)
    q = sigma(a * x[:, -1:] + b)
    h = np.tanh(f) * (1 - q) + q * np.tanh(g)
    return (h,), h


def cfc_no_gate(p, x, h):
    f, g, a, b = backbone(p, x, h)
    h = np.tanh(f) + sigma(a * x[:, -1:] + b) * np.tanh(g)
    return (h,), h


def cfc_pure(p, x, h):
    (f,) = backbone(p, x, h)
    h = -p["amplitude"] * np.exp(-x[:, -1:] * (abs(p["rate"]) + abs(f))) * f + p["amplitude"]
    return (h,), h


EQUATIONS = {
    cfc_default: jaxrnn.cfc(H, backbone_features=5, backbone_layers=2),
    cfc_no_gate: jaxrnn.cfc(H, mode="no_gate", backbone_features=5, backbone_layers=2),
    cfc_pure: jaxrnn.cfc(H, mode="pure", backbone_features=5, backbone_layers=2),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["default", "no_gate", "pure"])
def test_a_time_gap_acts_as_time_and_is_not_a_feature(mode):
    cell = jaxrnn.cfc(H, mode=mode, backbone_features=5)
    params = cell.init(KEY, D + 1)
    assert params["kernel"].shape == (D, 1, 5)
    xs = jax.random.normal(KEY, (T, B, D))

    def run(gaps):
        gaps = jnp.broadcast_to(jnp.asarray(gaps, jnp.float32).reshape(-1, 1, 1), (T, B, 1))
        return jaxrnn.unroll(cell, params, jnp.concatenate([xs, gaps], -1))[1]

    regular, irregular = run([1.0] * T), run([1.0, 1.0, 0.3, 2.5, 1.0, 1.0])
    np.testing.assert_array_equal(regular[:2], irregular[:2])
    assert (jnp.abs(regular[2:] - irregular[2:]).max((1, 2)) > 1e-4).all()


def test_a_state_in_closed_form_reaches_its_end_in_time():
    """`h(Δ) = A − A exp(−Δ (|τ| + |f|)) f`: from `A − A f` at once to A after a long gap, at the rate that f says."""
    cell = jaxrnn.cfc(H, mode="pure", backbone_features=5)
    params = cell.init(KEY, 2) | {"amplitude": jnp.arange(1.0, H + 1), "rate": jnp.full(H, 0.5)}

    def after(gap):
        return jaxrnn.unroll(cell, params, jnp.array([[0.7, gap]]))[1][0]

    f = 1 - after(0.0) / params["amplitude"]
    np.testing.assert_allclose(after(1e3), params["amplitude"], rtol=1e-6)
    for gap in (0.1, 1.0):
        expected = params["amplitude"] * (1 - np.exp(-gap * (0.5 + np.abs(f))) * f)
        np.testing.assert_allclose(after(gap), expected, rtol=1e-5)
