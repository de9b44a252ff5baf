"""The LSTM and its variants against loops in float64 NumPy, written from the published equations."""

import jax
import numpy as np
import pytest

import jaxrnn
from arrays import sigma
from cells.equations import D, H, every_equation, gates, hold, norm, numpy_wave, wave

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def lstm(p, x, c, h):
    """`cₜ = f cₜ₋₁ + i g`, `hₜ = o tanh(cₜ)`."""
    i, f, g, o = gates(p, x, h)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(c)
    return (c, h), h


def peephole_lstm(p, x, c, h):
    """Gers et al. 2002: the output gate sees the cell state that it lets out."""
    i, f, g, o = gates(p, x, h)
    old = c
    c = sigma(f + p["peephole"][1] * old) * old + sigma(i + p["peephole"][0] * old) * np.tanh(g)
    h = sigma(o + p["peephole"][2] * c) * np.tanh(c)
    return (c, h), h


def coupled_lstm(p, x, c, h):
    """Greff et al. 2017, CIFG, with `i = 1 − f`."""
    f, g, o = gates(p, x, h)
    c = sigma(f) * c + (1 - sigma(f)) * np.tanh(g)
    h = sigma(o) * np.tanh(c)
    return (c, h), h


def janet(p, x, h):
    """van der Westhuizen & Lasenby 2018, equation 8, with β = 1."""
    s, g = gates(p, x, h)
    h = sigma(s) * h + (1 - sigma(s - 1)) * np.tanh(g)
    return (h,), h


def projected_lstm(p, x, c, h):
    """Sak et al. 2014, without peepholes: what comes out is projected, and is what the gates see."""
    i, f, g, o = gates(p, x, h)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = (sigma(o) * np.tanh(c)) @ p["projection"]
    return (c, h), h


def layer_norm_lstm(p, x, c, h):
    i, f, g, o = (norm(a, *p) for a, *p in zip(gates(p, x, h), p["norm_scale"], p["norm_bias"], strict=True))
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(norm(c, p["cell_scale"], p["cell_bias"]))
    return (c, h), h


EQUATIONS = {
    lstm: jaxrnn.lstm(H),
    peephole_lstm: jaxrnn.peephole_lstm(H),
    coupled_lstm: jaxrnn.coupled_lstm(H),
    janet: jaxrnn.janet(H),
    projected_lstm: jaxrnn.projected_lstm(H, 3),
    layer_norm_lstm: jaxrnn.layer_norm_lstm(H),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


WAVES = {
    lstm: jaxrnn.lstm(H, gate_activation=wave),
    peephole_lstm: jaxrnn.peephole_lstm(H, gate_activation=wave),
    coupled_lstm: jaxrnn.coupled_lstm(H, gate_activation=wave),
    janet: jaxrnn.janet(H, gate_activation=wave),
    projected_lstm: jaxrnn.projected_lstm(H, 3, gate_activation=wave),
    layer_norm_lstm: jaxrnn.layer_norm_lstm(H, gate_activation=wave),
}


@pytest.mark.sampled
@every_equation(WAVES)
def test_gates_take_another_activation(equation, monkeypatch):
    monkeypatch.setitem(globals(), "sigma", numpy_wave)
    hold(equation, WAVES[equation])


def test_initial_kernel_is_scaled_by_the_input_alone():
    """LeCun's variance, `1 / D`, for each gate: not that of the `[D, G * H]` matrix that the gates form."""
    params = jaxrnn.lstm(64).init(jax.random.key(0), 256)
    np.testing.assert_allclose(params["kernel"].std((0, 2)) * 16, np.ones(4), atol=0.03)


@pytest.mark.parametrize(("options", "forget"), [({}, 1.0), ({"forget_bias": 0.0}, 0.0), ({"forget_bias": 2.5}, 2.5)])
def test_the_forget_gate_starts_open(options, forget):
    bias = jaxrnn.lstm(H, **options).init(jax.random.key(0), D)["bias"]
    np.testing.assert_array_equal(bias, np.array([0, forget, 0, 0])[:, None] * np.ones(H))


def test_initial_parameters_of_normalised_cells_do_nothing():
    params = jaxrnn.layer_norm_lstm(H).init(KEY, D)
    assert "bias" not in params
    np.testing.assert_array_equal(params["norm_bias"], np.array([0, 1, 0, 0])[:, None] * np.ones(H))
    assert all((params[name] == 1).all() for name in ("norm_scale", "cell_scale"))
