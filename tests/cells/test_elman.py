"""Cells without an LSTM's or a GRU's gates against loops in float64 NumPy, and how their states move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import sigma
from cells.equations import B, D, H, T, every_equation, gates, hold

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def drift(p, h, gamma):
    W = p["recurrent_kernel"][:, 0].T  # for columns, as in the paper
    return (W - W.T - gamma * np.eye(H)) @ h.T


def elman(p, x, h):
    """`hₜ = tanh(W_hh hₜ₋₁ + W_xh xₜ + b_h)`."""
    (a,) = gates(p, x, h)
    return (np.tanh(a),), np.tanh(a)


def elman_relu(p, x, h):
    """`hₜ = max(0, W_hh hₜ₋₁ + W_xh xₜ + b_h)`."""
    (a,) = gates(p, x, h)
    return (np.maximum(0, a),), np.maximum(0, a)


def irnn(p, x, h):
    (a,) = gates(p, x, h)
    return (np.maximum(0, a),), np.maximum(0, a)


def indrnn(p, x, h):
    """Li et al. 2018, equation 2."""
    h = np.maximum(0, x @ p["kernel"][:, 0] + p["recurrent_kernel"][0] * h + p["bias"][0])
    return (h,), h


def antisymmetric(p, x, h):
    """Chang et al. 2019, equation 11; W acts on columns there, so that its sign is the other one here."""
    V = x @ p["kernel"][:, 0] + p["bias"][0]
    h = h + 0.1 * np.tanh(V + drift(p, h, 0.01).T)
    return (h,), h


def antisymmetric_gated(p, x, h):
    """Chang et al. 2019, equation 13: both gates have the same recurrent matrix."""
    V, V_z = (x @ p["kernel"][:, g] + p["bias"][g] for g in (0, 1))
    shared = drift(p, h, 0.3).T
    h = h + 0.2 * sigma(V_z + shared) * np.tanh(V + shared)
    return (h,), h


def cornn(p, x, y, z):
    """Rusch & Mishra 2021, equation 3, with n̄ = n − 1."""
    dt, gamma, epsilon = 0.042, 2.7, 4.7
    W, V = p["recurrent_kernel"][:, 0], p["velocity_kernel"][:, 0]
    force = np.tanh(y @ W + z @ V + x @ p["kernel"][:, 0] + p["bias"][0])
    z = z + dt * force - dt * gamma * y - dt * epsilon * z
    y = y + dt * z
    return (y, z), y


EQUATIONS = {
    elman: jaxrnn.elman(H),
    elman_relu: jaxrnn.elman(H, activation=jax.nn.relu),
    irnn: jaxrnn.irnn(H),
    indrnn: jaxrnn.indrnn(H),
    antisymmetric: jaxrnn.antisymmetric(H),
    antisymmetric_gated: jaxrnn.antisymmetric(H, gated=True, dt=0.2, gamma=0.3),
    cornn: jaxrnn.cornn(H),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


def test_softmax_readout():
    """`ŷₜ = softmax(W_hy hₜ + b_y)`."""
    draw = np.random.default_rng(0)
    hs, W, b = draw.normal(size=(T, B, H)), draw.normal(size=(H, D)), draw.normal(size=D)
    layer = jaxrnn.dense(D, activation=jax.nn.softmax)
    _, ys = jaxrnn.unroll(layer, {"kernel": W, "bias": b}, hs)
    exponentials = np.exp(hs @ W + b)
    np.testing.assert_allclose(ys, exponentials / exponentials.sum(-1, keepdims=True), rtol=0, atol=1e-12)


def test_an_elman_network_with_its_readout():
    layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.elman(H)), jaxrnn.dense(D, activation=jax.nn.softmax))
    params = layer.init(jax.random.key(0), D)
    xs = np.random.default_rng(0).normal(size=(T, B, D))
    _, ys = jaxrnn.unroll(layer, params, xs)
    cell, readout = (jax.tree.map(np.asarray, params[f"layer_{i}"]) for i in (0, 1))
    h, expected = np.zeros((B, H)), []
    for x in xs:
        h = np.tanh(h @ cell["recurrent_kernel"][:, 0] + x @ cell["kernel"][:, 0] + cell["bias"][0])
        logits = h @ readout["kernel"] + readout["bias"]
        expected.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-6)  # parameters are in single precision


def test_an_irnn_begins_as_published():
    params = jaxrnn.irnn(64).init(KEY, 300)
    np.testing.assert_array_equal(params["recurrent_kernel"][:, 0], np.eye(64))
    np.testing.assert_allclose(params["kernel"].std(), 1e-3, rtol=0.05)


def test_an_indrnn_begins_between_forgetting_and_keeping():
    u = np.asarray(jaxrnn.indrnn(4000).init(KEY, 1)["recurrent_kernel"])
    assert u.shape == (1, 4000) and u.min() >= 0 and u.max() <= 1
    np.testing.assert_allclose(np.quantile(u, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)


def test_features_of_an_indrnn_do_not_see_each_other():
    cell = jaxrnn.indrnn(H, activation=jnp.tanh)
    params, x = cell.init(KEY, D), jnp.ones(D)
    jacobian = jax.jacobian(lambda h: jaxrnn.step(cell, params, jaxrnn.HiddenCarry(h), x)[1])(jnp.ones(H))
    np.testing.assert_array_equal(jacobian, np.diag(np.diag(jacobian)))
    assert cell.structure == "diagonal"


def test_an_antisymmetric_step_neither_grows_nor_shrinks_the_state():
    """The Jacobian is `I + Δt D A`; A = W − Wᵀ − γ I has eigenvalues with real part −γ."""
    cell = jaxrnn.antisymmetric(H, dt=1e-3, gamma=0.2)
    params = cell.init(KEY, D)
    carry = cell.init_carry(params)
    jacobian = jax.jacobian(lambda h: jaxrnn.step(cell, params, carry._replace(h=h), jnp.zeros(D))[1])(carry.h)
    eigenvalues = (np.linalg.eigvals(jacobian) - 1) / 1e-3
    np.testing.assert_allclose(eigenvalues.real, -0.2, atol=1e-3)
    assert np.abs(eigenvalues.imag).max() > 0.5


def test_oscillators_at_rest_stay_there_and_swing_when_pushed():
    cell = jaxrnn.cornn(1, dt=0.01, stiffness=4 * np.pi**2, damping=1e-3)  # one swing lasts 100 steps
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1))
    at_rest, ys = jaxrnn.unroll(cell, params, jnp.zeros((50, 1)))
    assert (ys == 0).all() and at_rest.v == 0
    _, ys = jaxrnn.unroll(cell, params, jnp.zeros((400, 1)), at_rest._replace(h=jnp.ones(1)))
    np.testing.assert_allclose(ys[:, 0], np.cos(2 * np.pi * 0.01 * np.arange(1, 401)), atol=0.08)


def test_oscillators_come_to_rest_up_to_the_step_that_is_refused():
    """γ Δt² + 2 ε Δt just below 4, and just above it."""
    still = jnp.zeros((400, 1))
    cell = jaxrnn.cornn(1, dt=0.99, stiffness=1.0, damping=1.5)  # 3.95
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1))
    start = cell.init_carry(params)._replace(h=jnp.full(1, 1e-3))
    assert jnp.abs(jaxrnn.unroll(cell, params, still, start)[1][-1]) < 1e-5
    with pytest.raises(ValueError, match="overshoots"):
        jaxrnn.cornn(1, dt=1.01, stiffness=1.0, damping=1.5)  # 4.05
