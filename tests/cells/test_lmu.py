"""Legendre memory unit against a loop in float64 NumPy, and what its memory holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy.signal import cont2discrete

import jaxrnn
from cells.equations import H, gates, hold
from cells.test_linear_initializers import centred, initial, uniform

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def system(size, theta):
    """Voelker et al. 2019, equations 1 and 2, written entry by entry, and discretised by SciPy."""
    A = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            A[i, j] = (2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1))
    B = np.array([[(2 * i + 1) * (-1.0) ** i] for i in range(size)])
    parts = A / theta, B / theta, np.eye(size), np.zeros((size, 1))
    return cont2discrete(parts, 1.0, "zoh")[:2]


def lmu(p, x, h, m):
    """Voelker et al. 2019, equations 4, 6 and 7."""
    A, B = system(5, 7.5)
    u = x @ p["encoder"] + h @ p["recurrent_encoder"] + m @ p["memory_encoder"]
    m = m @ A.T + u[:, None] * B[:, 0]
    (z,) = gates(p, x, h)
    h = np.tanh(z + m @ p["memory_kernel"][:, 0])
    return (h, m), h


@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_a_loop_in_numpy(use_bias):
    hold(lmu, jaxrnn.lmu(H, memory_size=5, theta=7.5, use_bias=use_bias))


def remembered(size, theta, signal):
    """The last θ steps as a memory of one signal holds them: its Legendre polynomials, at the middle of each step."""
    cell = jaxrnn.lmu(1, memory_size=size, theta=theta)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1)) | {"encoder": jnp.ones(1)}
    m = np.asarray(jaxrnn.unroll(cell, params, signal[:, None])[0].m)
    back = (np.arange(theta) + 0.5) / theta
    return legendre.legval(2 * back - 1, m)[::-1]


def test_the_memory_reconstructs_a_window_of_its_input():
    """Of a sum of sines with up to five periods in 200 steps: to 0.002 by 24 polynomials, and not by 16."""
    t = np.arange(600)
    signal = sum(np.sin(2 * np.pi * k * t / 200 + k) for k in (0.7, 1.9, 3.3, 5.0)) / 2
    errors = {n: np.abs(remembered(n, 200, signal) - signal[-200:]).max() for n in (16, 24)}
    assert errors[24] < 0.002
    assert errors[16] > 0.3


def test_starts_as_published():
    params = initial(jaxrnn.lmu(256, memory_size=128), 64)
    for name, inputs in (("kernel", 64), ("recurrent_kernel", 256), ("memory_kernel", 128)):
        assert centred(params[name], 2 / (inputs + 256))
    for name, inputs in (("encoder", 64), ("recurrent_encoder", 256)):
        assert uniform(params[name], -np.sqrt(3 / inputs), np.sqrt(3 / inputs))
    assert not params["memory_encoder"].any() and "bias" not in params


@pytest.mark.parametrize("theta", [0.0, -3.0])
def test_a_window_has_a_length(theta):
    with pytest.raises(ValueError) as error:
        jaxrnn.lmu(8, theta=theta)
    assert str(error.value) == f"lmu: theta is {theta!r}, expected a positive number of steps"
