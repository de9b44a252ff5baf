"""The cells that vary the classical ones against loops in float64 NumPy, written from the published equations."""

import jax
import numpy as np
import pytest

import jaxrnn

pytestmark = pytest.mark.usefixtures("x64")

T, B, D, H = 6, 3, 2, 4


def sigma(x):
    return 1 / (1 + np.exp(-x))


def gates(p, x, h, *, without=()):
    """`W x + U h + b` of each gate; for a gate in `without`, the input's part alone."""
    zs = np.einsum("bd,dgh->gbh", x, p["kernel"]) + p["bias"][:, None]
    U = p["recurrent_kernel"]
    return [z if g in without else z + h @ U[:, g] for g, z in enumerate(zs)]


def irnn(p, x, h):
    (a,) = gates(p, x, h)
    return (np.maximum(0, a),), np.maximum(0, a)


def indrnn(p, x, h):
    """Li et al. 2018, equation 2."""
    h = np.maximum(0, x @ p["kernel"][:, 0] + p["recurrent_kernel"][0] * h + p["bias"][0])
    return (h,), h


def peephole_lstm(p, x, c, h):
    """Gers et al. 2002: the output gate sees the memory that it lets out."""
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


def drift(p, h, gamma):
    W = p["recurrent_kernel"][:, 0].T  # for columns, as in the paper
    return (W - W.T - gamma * np.eye(H)) @ h.T


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
    irnn: jaxrnn.irnn(H),
    indrnn: jaxrnn.indrnn(H),
    peephole_lstm: jaxrnn.peephole_lstm(H),
    coupled_lstm: jaxrnn.coupled_lstm(H),
    janet: jaxrnn.janet(H),
    mgu_before: jaxrnn.mgu(H, reset="before"),
    mgu_after: jaxrnn.mgu(H),
    mgu_keep: jaxrnn.mgu(H, gate="keep"),
    antisymmetric: jaxrnn.antisymmetric(H),
    antisymmetric_gated: jaxrnn.antisymmetric(H, gated=True, epsilon=0.2, gamma=0.3),
    cornn: jaxrnn.cornn(H),
}


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.__name__)
def test_equals_a_loop_in_numpy(equation):
    cell, draw = EQUATIONS[equation], np.random.default_rng(0)

    def random(leaf):
        return draw.normal(size=leaf.shape)

    params = jax.tree.map(random, jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0)))
    carry = jax.tree.map(random, jax.eval_shape(lambda p: cell.init_carry(p, (B,)), params))
    xs = draw.normal(size=(T, B, D))
    after, ys = jaxrnn.unroll(cell, params, xs, carry)

    state, expected = tuple(carry), []
    for x in xs:
        state, y = equation(params, x, *state)
        expected.append(y)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
    for actual, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12)
