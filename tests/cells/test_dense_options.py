"""Options, errors and initial parameters of dense cells."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, D, H = 6, 3, 4, 8
KEY = jax.random.key(0)

WRONG = [
    (lambda: jaxrnn.irnn(0), "irnn: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.indrnn(True), "indrnn: features is True, expected an int of 1 or more"),
    (lambda: jaxrnn.peephole_lstm(-1), "peephole_lstm: features is -1, expected an int of 1 or more"),
    (lambda: jaxrnn.coupled_lstm(2.0), "coupled_lstm: features is 2.0, expected an int of 1 or more"),
    (lambda: jaxrnn.janet("8"), "janet: features is '8', expected an int of 1 or more"),
    (lambda: jaxrnn.mgu(0), "mgu: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.mgu(8, reset="never"), "mgu: reset is 'never', expected one of 'after', 'before'"),
    (lambda: jaxrnn.mgu(8, gate="open"), "mgu: gate is 'open', expected one of 'update', 'keep'"),
    (lambda: jaxrnn.antisymmetric(0), "antisymmetric: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.antisymmetric(8, dt=0), "antisymmetric: dt is 0, expected a step size Δt > 0"),
    (lambda: jaxrnn.antisymmetric(8, gamma=-0.1), "antisymmetric: gamma is -0.1, expected a diffusion γ ≥ 0"),
    (lambda: jaxrnn.cornn(0), "cornn: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.cornn(8, dt=0), "cornn: dt is 0, expected a positive number"),
    (lambda: jaxrnn.cornn(8, stiffness=-1), "cornn: stiffness is -1, expected a positive number"),
    (lambda: jaxrnn.cornn(8, damping=0.0), "cornn: damping is 0.0, expected a positive number"),
    (
        lambda: jaxrnn.cornn(8, dt=0.5),
        "cornn: γ Δt² + 2 ε Δt is 5.375, expected less than 4, or each step overshoots; lower dt",
    ),
    (lambda: jaxrnn.projected_lstm(0, 2), "projected_lstm: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.projected_lstm(8, 0), "projected_lstm: projection is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.layer_norm_lstm(0), "layer_norm_lstm: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.layer_norm_lstm(8, epsilon=0), "layer_norm_lstm: epsilon is 0, expected ε > 0"),
    (lambda: jaxrnn.layer_norm_gru(8, epsilon=-1), "layer_norm_gru: epsilon is -1, expected ε > 0"),
    (lambda: jaxrnn.slstm(0), "slstm: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.slstm(8, heads=0), "slstm: heads is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.slstm(8, heads=3), "slstm: heads is 3, expected a divisor of features=8"),
    (lambda: jaxrnn.slstm(8, forget="tanh"), "slstm: forget is 'tanh', expected one of 'sigmoid', 'exp'"),
    (lambda: jaxrnn.cfc(0), "cfc: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.cfc(8, backbone_features=0), "cfc: backbone_features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.cfc(8, backbone_layers=0), "cfc: backbone_layers is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.cfc(8, mode="ltc"), "cfc: mode is 'ltc', expected one of 'default', 'pure', 'no_gate'"),
    (
        lambda: jaxrnn.cfc(8).init(KEY, 1),
        "cfc: inputs have 1 feature, expected 2 or more: the last one is the time gap",
    ),
    (
        lambda: jaxrnn.gru_d(8, mean=(0.0, 1.0)).init(KEY, 4),
        "gru_d: mean has 2 entries, expected 3, one for each feature but the time gap",
    ),
    (
        lambda: jaxrnn.gru_d(8, mean="zero"),
        "gru_d: mean is 'zero', expected a finite number, or a tuple, each entry a finite number",
    ),
    (lambda: jaxrnn.phased_lstm(8, leak=1.5), "phased_lstm: leak is 1.5, expected 0 ≤ leak ≤ 1"),
    (lambda: jaxrnn.phased_lstm(8, open_ratio=0.0), "phased_lstm: open_ratio is 0.0, expected 0 < open_ratio < 1"),
    (
        lambda: jaxrnn.phased_lstm(8, period_min=2.0, period_max=1.0),
        "phased_lstm: period_min is 2.0 and period_max 1.0, expected 0 < period_min ≤ period_max",
    ),
    (
        lambda: jaxrnn.phased_lstm(8).init(KEY, 1),
        "phased_lstm: inputs have 1 feature, expected 2 or more: the last one is the time gap",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message.split(",")[0] for _, message in WRONG])
def test_a_wrong_argument_is_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


BIASED = {
    "irnn": jaxrnn.irnn,
    "indrnn": jaxrnn.indrnn,
    "peephole_lstm": jaxrnn.peephole_lstm,
    "coupled_lstm": jaxrnn.coupled_lstm,
    "janet": jaxrnn.janet,
    "mgu": jaxrnn.mgu,
    "mgu_before": partial(jaxrnn.mgu, reset="before"),
    "antisymmetric": jaxrnn.antisymmetric,
    "cornn": jaxrnn.cornn,
    "projected_lstm": partial(jaxrnn.projected_lstm, projection=2),
    "slstm": partial(jaxrnn.slstm, heads=2),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", BIASED)
def test_no_bias_is_a_bias_of_zero(name):
    without, cell = BIASED[name](H, use_bias=False), BIASED[name](H)
    params = without.init(KEY, D)
    biases = {k: jnp.zeros_like(p) for k, p in cell.init(KEY, D).items() if k not in params}
    assert biases and all("bias" in k for k in biases)
    xs = jax.random.normal(KEY, (T, B, D))
    carry, ys = jaxrnn.unroll(without, params, xs)
    expected = jaxrnn.unroll(cell, params | biases, xs)
    assert_close((carry, ys), expected, 1e-6)


@pytest.mark.parametrize(
    ("cell", "gate", "first", "last"),
    [
        (jaxrnn.peephole_lstm(H), 1, 1.0, 1.0),
        (jaxrnn.peephole_lstm(H, forget_bias=2.5), 1, 2.5, 2.5),
        (jaxrnn.coupled_lstm(H), 0, 1.0, 1.0),
        (jaxrnn.janet(H, forget_bias=0.5), 0, 0.5, 0.5),
        (jaxrnn.projected_lstm(H, 2), 1, 1.0, 1.0),
        (jaxrnn.slstm(H), 1, 3.0, 6.0),
        (jaxrnn.slstm(H, forget_bias=-1.0, forget_spread=2.0), 1, -1.0, 1.0),
    ],
)
def test_the_forget_gate_starts_at_its_bias(cell, gate, first, last):
    bias = cell.init(KEY, D)["bias"]
    np.testing.assert_allclose(bias[gate], np.linspace(first, last, H), atol=1e-6)
    assert (jnp.delete(bias, gate, axis=0) == 0).all()


CLASSICAL = {
    "elman": jaxrnn.elman(H),
    "elman_relu": jaxrnn.elman(H, activation=jax.nn.relu),
    "lstm": jaxrnn.lstm(H),
    "gru_after": jaxrnn.gru(H),
    "gru_before": jaxrnn.gru(H, reset="before"),
    "gru_to_bias": jaxrnn.gru(H, reset="to_bias"),
}


@pytest.mark.parametrize("cell", CLASSICAL.values(), ids=CLASSICAL)
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
