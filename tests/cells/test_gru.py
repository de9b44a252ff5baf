"""The GRU and its variants against loops in float64 NumPy, written from the published equations."""

import jax
import numpy as np
import pytest

import jaxrnn
from arrays import sigma
from cells.equations import D, H, every_equation, gates, hold, norm, numpy_wave, wave

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def gru_after(p, x, h):
    """The reset gate acts after the product, and scales its bias, too."""
    r, z, n = gates(p, x, h, without=(2,))
    n = np.tanh(n + sigma(r) * (h @ p["recurrent_kernel"][:, 2] + p["recurrent_bias"]))
    h = (1 - sigma(z)) * n + sigma(z) * h
    return (h,), h


def gru_before(p, x, h):
    """The reset gate acts before the product."""
    r, z, n = gates(p, x, h, without=(2,))
    n = np.tanh(n + (sigma(r) * h) @ p["recurrent_kernel"][:, 2])
    h = (1 - sigma(z)) * n + sigma(z) * h
    return (h,), h


def gru_to_bias(p, x, h):
    """`h̃ = tanh(W xₜ + U((1 − r) hₜ₋₁ + r b_h) + b)`, `hₜ = (1 − z) hₜ₋₁ + z h̃`."""
    r, z, n = gates(p, x, h, without=(2,))
    r, z = sigma(r), sigma(z)
    n = np.tanh(n + ((1 - r) * h + r * p["reset_bias"]) @ p["recurrent_kernel"][:, 2])
    h = (1 - z) * h + z * n
    return (h,), h


def mgu_before(p, x, h):
    """Zhou et al. 2016, equations 4."""
    f, n = gates(p, x, h, without=(1,))
    f = sigma(f)
    n = np.tanh(n + (f * h) @ p["recurrent_kernel"][:, 1])
    h = (1 - f) * h + f * n
    return (h,), h


def mgu_after(p, x, h):
    f, n = gates(p, x, h, without=(1,))
    f = sigma(f)
    n = np.tanh(n + f * (h @ p["recurrent_kernel"][:, 1] + p["recurrent_bias"]))
    h = (1 - f) * h + f * n
    return (h,), h


def mgu_keep(p, x, h):
    """Flax's: the gate keeps."""
    f, n = gates(p, x, h, without=(1,))
    f = sigma(f)
    n = np.tanh(n + f * (h @ p["recurrent_kernel"][:, 1] + p["recurrent_bias"]))
    h = (1 - f) * n + f * h
    return (h,), h


def layer_norm_gru(p, x, h):
    r, z, n_x = gates(p, x, h, without=(2,))
    n_h = h @ p["recurrent_kernel"][:, 2]
    r, z, n_x, n_h = (norm(a, *p) for a, *p in zip((r, z, n_x, n_h), p["norm_scale"], p["norm_bias"], strict=True))
    h = (1 - sigma(z)) * np.tanh(n_x + sigma(r) * n_h) + sigma(z) * h
    return (h,), h


EQUATIONS = {
    gru_after: jaxrnn.gru(H),
    gru_before: jaxrnn.gru(H, reset="before"),
    gru_to_bias: jaxrnn.gru(H, reset="to_bias"),
    mgu_before: jaxrnn.mgu(H, reset="before"),
    mgu_after: jaxrnn.mgu(H),
    mgu_keep: jaxrnn.mgu(H, gate="keep"),
    layer_norm_gru: jaxrnn.layer_norm_gru(H),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


WAVES = {
    gru_after: jaxrnn.gru(H, gate_activation=wave),
    gru_before: jaxrnn.gru(H, reset="before", gate_activation=wave),
    gru_to_bias: jaxrnn.gru(H, reset="to_bias", gate_activation=wave),
    mgu_before: jaxrnn.mgu(H, reset="before", gate_activation=wave),
    mgu_keep: jaxrnn.mgu(H, gate="keep", gate_activation=wave),
    layer_norm_gru: jaxrnn.layer_norm_gru(H, gate_activation=wave),
}


@every_equation(WAVES)
def test_gates_take_another_activation(equation, monkeypatch):
    monkeypatch.setitem(globals(), "sigma", numpy_wave)
    hold(equation, WAVES[equation])


def test_initializers_may_be_given():
    ones, constant = jax.nn.initializers.ones, jax.nn.initializers.constant
    cell = jaxrnn.gru(H, kernel_init=ones, recurrent_kernel_init=constant(2.0), bias_init=constant(3.0))
    params = cell.init(jax.random.key(0), D)
    for name, value in {"kernel": 1, "recurrent_kernel": 2, "bias": 3, "recurrent_bias": 0}.items():
        np.testing.assert_array_equal(params[name], np.full(params[name].shape, value))
