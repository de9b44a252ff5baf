"""The cells that vary the classical ones against loops in float64 NumPy, written from the published equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H = 6, 3, 2, 4


def sigma(x):
    return 1 / (1 + np.exp(-x))


def gates(p, x, h, *, without=()):
    """`W x + U h + b` of each gate; for a gate in `without`, the input's part alone."""
    zs = np.einsum("bd,dgh->gbh", x, p["kernel"])
    zs = zs + p["bias"][:, None] if "bias" in p else zs
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


def projected_lstm(p, x, c, h):
    """Sak et al. 2014, without peepholes: what comes out is projected, and is what the gates see."""
    i, f, g, o = gates(p, x, h)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = (sigma(o) * np.tanh(c)) @ p["projection"]
    return (c, h), h


def norm(a, scale, bias):
    """Ba et al. 2016, equation 4, over the features of one gate."""
    return scale * (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6) + bias


def layer_norm_lstm(p, x, c, h):
    i, f, g, o = (norm(a, *p) for a, *p in zip(gates(p, x, h), p["norm_scale"], p["norm_bias"], strict=True))
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(norm(c, p["cell_scale"], p["cell_bias"]))
    return (c, h), h


def layer_norm_gru(p, x, h):
    r, z, n_x = gates(p, x, h, without=(2,))
    n_h = h @ p["recurrent_kernel"][:, 2]
    r, z, n_x, n_h = (norm(a, *p) for a, *p in zip((r, z, n_x, n_h), p["norm_scale"], p["norm_bias"], strict=True))
    h = (1 - sigma(z)) * np.tanh(n_x + sigma(r) * n_h) + sigma(z) * h
    return (h,), h


def blocks(p):
    """The block-diagonal kernel `[H, G, H]` of heads that do not see each other."""
    heads, width, count, _ = p["recurrent_kernel"].shape
    U = np.zeros((heads * width, count, heads * width))
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        U[own, :, own] = p["recurrent_kernel"][head]
    return p | {"recurrent_kernel": U}


def slstm(p, x, c, n, m, h):
    """Beck et al. 2024, equations 8 to 14, without a stabiliser: `c exp(m)` and `n exp(m)` are the paper's c and n."""
    i, f, g, o = gates(blocks(p), x, h)
    i, f = np.exp(i), sigma(f)
    c, n = f * c * np.exp(m) + i * np.tanh(g), f * n * np.exp(m) + i
    h = sigma(o) * c / n
    m = np.maximum(np.log(f) + m, np.log(i))  # equation 15
    return (c * np.exp(-m), n * np.exp(-m), m, h), h


def slstm_exp(p, x, c, n, m, h):
    i, f, g, o = gates(blocks(p), x, h)
    i, f = np.exp(i), np.exp(f)
    c, n = f * c * np.exp(m) + i * np.tanh(g), f * n * np.exp(m) + i
    h = sigma(o) * c / n
    m = np.maximum(np.log(f) + m, np.log(i))
    return (c * np.exp(-m), n * np.exp(-m), m, h), h


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
    irnn: jaxrnn.irnn(H),
    indrnn: jaxrnn.indrnn(H),
    peephole_lstm: jaxrnn.peephole_lstm(H),
    coupled_lstm: jaxrnn.coupled_lstm(H),
    janet: jaxrnn.janet(H),
    mgu_before: jaxrnn.mgu(H, reset="before"),
    mgu_after: jaxrnn.mgu(H),
    mgu_keep: jaxrnn.mgu(H, gate="keep"),
    antisymmetric: jaxrnn.antisymmetric(H),
    antisymmetric_gated: jaxrnn.antisymmetric(H, gated=True, dt=0.2, gamma=0.3),
    cornn: jaxrnn.cornn(H),
    projected_lstm: jaxrnn.projected_lstm(H, 3),
    layer_norm_lstm: jaxrnn.layer_norm_lstm(H),
    layer_norm_gru: jaxrnn.layer_norm_gru(H),
    slstm: jaxrnn.slstm(H, heads=2),
    slstm_exp: jaxrnn.slstm(H, heads=2, forget="exp"),
    cfc_default: jaxrnn.cfc(H, backbone_features=5, backbone_layers=2),
    cfc_no_gate: jaxrnn.cfc(H, mode="no_gate", backbone_features=5, backbone_layers=2),
    cfc_pure: jaxrnn.cfc(H, mode="pure", backbone_features=5, backbone_layers=2),
}


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.__name__)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


def wave(x):
    """A gate that opens for large inputs of either sign, so that `1 - wave(x)` is not `wave(-x)`."""
    return jnp.sin(x) ** 2


WAVES = {
    peephole_lstm: jaxrnn.peephole_lstm(H, gate_activation=wave),
    coupled_lstm: jaxrnn.coupled_lstm(H, gate_activation=wave),
    janet: jaxrnn.janet(H, gate_activation=wave),
    mgu_before: jaxrnn.mgu(H, reset="before", gate_activation=wave),
    mgu_keep: jaxrnn.mgu(H, gate="keep", gate_activation=wave),
    projected_lstm: jaxrnn.projected_lstm(H, 3, gate_activation=wave),
    layer_norm_lstm: jaxrnn.layer_norm_lstm(H, gate_activation=wave),
    layer_norm_gru: jaxrnn.layer_norm_gru(H, gate_activation=wave),
}


@pytest.mark.parametrize("equation", WAVES, ids=lambda equation: equation.__name__)
def test_gates_take_another_activation(equation, monkeypatch):
    monkeypatch.setitem(globals(), "sigma", lambda x: np.sin(x) ** 2)
    hold(equation, WAVES[equation])


def hold(equation, cell):
    """Compares outputs and the final carry with a loop over `equation`."""
    draw = np.random.default_rng(0)

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
