"""Each cell against a loop in float64 NumPy, written from the published equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H = 6, 3, 2, 4


def sigma(x):
    return 1 / (1 + np.exp(-x))


def elman(W, U, b, x, h):
    """`hₜ = tanh(W_hh hₜ₋₁ + W_xh xₜ + b_h)`."""
    h = np.tanh(x @ W["h"] + h @ U["h"] + b["h"])
    return (h,), h


def elman_relu(W, U, b, x, h):
    """`hₜ = max(0, W_hh hₜ₋₁ + W_xh xₜ + b_h)`."""
    h = np.maximum(0, x @ W["h"] + h @ U["h"] + b["h"])
    return (h,), h


def lstm(W, U, b, x, c, h):
    """`cₜ = f cₜ₋₁ + i g`, `hₜ = o tanh(cₜ)`."""
    i, f, o = (sigma(x @ W[k] + h @ U[k] + b[k]) for k in "ifo")
    g = np.tanh(x @ W["g"] + h @ U["g"] + b["g"])
    c = f * c + i * g
    h = o * np.tanh(c)
    return (c, h), h


def gru_after(W, U, b, x, h):
    """The reset gate after the product, whose bias it scales too."""
    r, z = (sigma(x @ W[k] + h @ U[k] + b[k]) for k in "rz")
    n = np.tanh(x @ W["n"] + b["n"] + r * (h @ U["n"] + b["recurrent_bias"]))
    h = (1 - z) * n + z * h
    return (h,), h


def gru_before(W, U, b, x, h):
    """The reset gate before the product."""
    r, z = (sigma(x @ W[k] + h @ U[k] + b[k]) for k in "rz")
    n = np.tanh(x @ W["n"] + b["n"] + (r * h) @ U["n"])
    h = (1 - z) * n + z * h
    return (h,), h


def gru_to_bias(W, U, b, x, h):
    """`h̃ = tanh(W xₜ + U((1 − r) hₜ₋₁ + r b_h) + b)`, `hₜ = (1 − z) hₜ₋₁ + z h̃`."""
    r, z = (sigma(x @ W[k] + h @ U[k] + b[k]) for k in "rz")
    n = np.tanh(x @ W["n"] + ((1 - r) * h + r * b["reset_bias"]) @ U["n"] + b["n"])
    h = (1 - z) * h + z * n
    return (h,), h


# equation: (cell, gates in the order of the parameters, fields of the carry)
EQUATIONS = {
    elman: (jaxrnn.elman(H), "h", "h"),
    elman_relu: (jaxrnn.elman(H, activation=jax.nn.relu), "h", "h"),
    lstm: (jaxrnn.lstm(H), "ifgo", "ch"),
    gru_after: (jaxrnn.gru(H), "rzn", "h"),
    gru_before: (jaxrnn.gru(H, reset="before"), "rzn", "h"),
    gru_to_bias: (jaxrnn.gru(H, reset="to_bias"), "rzn", "h"),
}


@pytest.mark.parametrize(
    ("equation", "method"),
    [(equation, method) for equation, (cell, *_) in EQUATIONS.items() for method in jaxrnn.methods(cell)],
)
def test_equals_a_loop_in_numpy(equation, method):
    hold(equation, *EQUATIONS[equation], method)


def wave(x):
    """A gate that opens for large inputs of either sign."""
    return jnp.sin(x) ** 2


WAVES = {
    lstm: jaxrnn.lstm(H, gate_activation=wave),
    gru_after: jaxrnn.gru(H, gate_activation=wave),
    gru_before: jaxrnn.gru(H, reset="before", gate_activation=wave),
    gru_to_bias: jaxrnn.gru(H, reset="to_bias", gate_activation=wave),
}


@pytest.mark.parametrize("equation", WAVES, ids=lambda equation: equation.__name__)
def test_gates_take_another_activation(equation, monkeypatch):
    monkeypatch.setitem(globals(), "sigma", lambda x: np.sin(x) ** 2)
    hold(equation, WAVES[equation], *EQUATIONS[equation][1:], "auto")


def hold(equation, cell, gates, fields, method):
    """Compares outputs and the final carry with a loop over `equation`."""
    draw = np.random.default_rng(0)
    xs = draw.normal(size=(T, B, D))
    W, U = ({gate: draw.normal(size=(n, H)) for gate in gates} for n in (D, H))
    b = {gate: draw.normal(size=H) for gate in gates}
    carry = {field: draw.normal(size=(B, H)) for field in fields}
    vectors = {"gru_after": ["recurrent_bias"], "gru_to_bias": ["reset_bias"]}.get(equation.__name__, [])
    params = {
        "kernel": np.stack([W[gate] for gate in gates], axis=1),
        "recurrent_kernel": np.stack([U[gate] for gate in gates], axis=1),
        "bias": np.stack([b[gate] for gate in gates]),
        **{name: draw.normal(size=H) for name in vectors},
    }
    start = cell.init_carry(params, (B,))._replace(**carry)
    after, ys = jaxrnn.unroll(cell, params, xs, start, method=method)

    state, expected = tuple(carry[field] for field in fields), []
    for x in xs:
        state, y = equation(W, U, b | {name: params[name] for name in vectors}, x, *state)
        expected.append(y)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
    assert after._fields == tuple(fields)
    for actual, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("cell", [cell for cell, *_ in EQUATIONS.values()], ids=[e.__name__ for e in EQUATIONS])
def test_initial_parameters(cell):
    params = cell.init(jax.random.key(0), D)
    gates = params["kernel"].shape[1]
    assert params["kernel"].shape == (D, gates, H)
    assert params["bias"].shape == (gates, H)
    assert all(param.dtype == jnp.float32 for param in params.values())
    for gate in range(gates):
        U = params["recurrent_kernel"][:, gate]
        np.testing.assert_allclose(U.T @ U, np.eye(H), atol=1e-6)
    kernels = params["recurrent_kernel"].swapaxes(0, 1)
    assert len({tuple(map(float, kernel.ravel())) for kernel in kernels}) == gates  # each gate is drawn apart
    assert all((leaf == 0).all() for leaf in cell.init_carry(params, (B,)))


def test_initial_kernel_is_scaled_by_the_input_alone():
    """LeCun's variance, `1 / D`, for each gate: not that of the `[D, G * H]` matrix that the gates form."""
    params = jaxrnn.lstm(64).init(jax.random.key(0), 256)
    np.testing.assert_allclose(params["kernel"].std((0, 2)) * 16, np.ones(4), atol=0.03)


@pytest.mark.parametrize(("options", "forget"), [({}, 1.0), ({"forget_bias": 0.0}, 0.0), ({"forget_bias": 2.5}, 2.5)])
def test_the_forget_gate_starts_open(options, forget):
    bias = jaxrnn.lstm(H, **options).init(jax.random.key(0), D)["bias"]
    np.testing.assert_array_equal(bias, np.array([0, forget, 0, 0])[:, None] * np.ones(H))


def test_initializers_may_be_given():
    ones, constant = jax.nn.initializers.ones, jax.nn.initializers.constant
    cell = jaxrnn.gru(H, kernel_init=ones, recurrent_kernel_init=constant(2.0), bias_init=constant(3.0))
    params = cell.init(jax.random.key(0), D)
    for name, value in {"kernel": 1, "recurrent_kernel": 2, "bias": 3, "recurrent_bias": 0}.items():
        np.testing.assert_array_equal(params[name], np.full(params[name].shape, value))
