"""Initial parameters of cells with a linear recurrence, by their distribution, against what was published."""

import jax
import numpy as np
import pytest

import jaxrnn
from arrays import softplus

pytestmark = pytest.mark.usefixtures("quick_compilation")


def initial(maker, in_features):
    """Of a cell or a layer, in double precision: what is made of them here is not rounded."""
    params = jax.jit(maker.init, static_argnums=1)(jax.random.key(0), in_features)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def uniform(values, low, high):
    """Whether values spread evenly: the greatest distance between their distribution and the uniform one (p ≈ 1e-4)."""
    values, n = np.sort(values.ravel()), values.size
    distance = np.abs((values - low) / (high - low) - (np.arange(n) + 0.5) / n).max()
    return distance < 2.3 / np.sqrt(n) and values[0] >= low - 1e-6 and values[-1] <= high + 1e-6


def centred(values, variance):
    """Whether values look drawn around 0 with this variance: both moments within five standard errors."""
    mean, spread = abs(values.mean()) / np.sqrt(variance), abs(values.var() / variance - 1)
    return mean < 5 / np.sqrt(values.size) and spread < 5 * np.sqrt(2 / values.size)


# --- elementwise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [jaxrnn.min_gru, jaxrnn.min_lstm, jaxrnn.rg_lru])
def test_gates_start_with_the_variance_of_their_inputs_and_without_bias(make):
    params = initial(make(64), 256)
    assert all(centred(gate, 1 / 256) for gate in np.moveaxis(params["kernel"], 1, 0))
    assert not params["bias"].any()


@pytest.mark.parametrize("eigenvalues", ["complex", "signed", "positive"])
def test_lru_starts_on_a_ring(eigenvalues):
    params = initial(
        jaxrnn.lru(8, states=1024, eigenvalues=eigenvalues, r_min=0.6, r_max=0.9, max_phase=1.5), in_features=64
    )
    radius = np.tanh(params["nu"]) if eigenvalues == "signed" else np.exp(-np.exp(params["nu"]))
    assert uniform(radius**2, 0.6**2, 0.9**2)
    np.testing.assert_allclose(np.exp(2 * params["gamma"]), 1 - radius**2, atol=1e-5)
    if eigenvalues == "complex":
        assert uniform(np.exp(params["theta"]), 0, 1.5)
    if eigenvalues == "signed":
        assert centred(np.sign(params["nu"]), 1)
    parts = 2 if eigenvalues == "complex" else 1
    assert params["kernel"].shape[1] == params["readout"].shape[1] == parts
    assert all(centred(part, 1 / (parts * 64)) for part in np.moveaxis(params["kernel"], 1, 0))
    assert all(centred(part, 1 / 1024) for part in np.moveaxis(params["readout"], 1, 0))
    assert centred(params["skip"], 1 / 64)


def test_rg_lru_starts_with_multipliers_spread_evenly():
    """By the paper: under an open gate, so that it is `a⁸` of what `softplus(Λ)` is minus the logarithm of."""
    params = initial(jaxrnn.rg_lru(1024, a_min=0.8, a_max=0.99), 3)
    assert uniform(np.exp(-8 * softplus(params["decay"])), 0.8, 0.99)


def test_a_griffin_block_starts_with_slow_decays_and_without_biases():
    params = initial(jaxrnn.griffin_block(8, width=256), 64)
    assert uniform(np.exp(-8 * softplus(params["branch"]["layer_1"]["decay"])), 0.9, 0.999)
    assert not any(params[name].any() for name in ("bias", "out_bias"))
    assert centred(params["kernel"], 1 / 64)
    assert centred(params["out"], 1 / 256)


def test_s5_starts_from_hippo():
    """Its eigenvalues are half of those of HiPPO-LegS plus `p pᵀ`, one of each pair, in every block."""
    params = initial(jaxrnn.s5(4, states=8, blocks=2), 3)
    n = np.arange(8)
    lower = np.array([[np.sqrt((2 * i + 1) * (2 * j + 1)) * (i > j) + (i + 1) * (i == j) for j in n] for i in n])
    normal = np.outer(np.sqrt(n + 0.5), np.sqrt(n + 0.5)) - lower
    expected = np.linalg.eigvals(normal)
    expected = expected[expected.imag > 0][np.argsort(expected[expected.imag > 0].imag)]
    actual = (params["lambda_real"] + 1j * params["lambda_imag"]).reshape(2, 4)
    np.testing.assert_allclose(actual, [expected, expected], rtol=1e-5)


def test_s5_starts_with_steps_spread_over_their_logarithm_and_a_random_system():
    """`B` and `C` have the variances of `D` inputs and of 2 N states: a change to an orthonormal basis keeps them."""
    params = initial(jaxrnn.s5(64, states=1024, blocks=128, dt_min=0.01, dt_max=1.0), 32)
    assert uniform(params["log_dt"], np.log(0.01), np.log(1.0))
    assert all(centred(part, 1 / (2 * 32)) for part in np.moveaxis(params["kernel"], 1, 0))
    assert all(centred(part, 1 / 2048) for part in np.moveaxis(params["readout"], 1, 0))
    assert centred(params["skip"], 1 / 32)


@pytest.mark.parametrize("frequencies", ["linear", "inverse"])
def test_s4d_starts_with_the_frequencies_of_its_paper(frequencies):
    params = initial(jaxrnn.s4d(512, states=4, frequencies=frequencies, dt_min=0.01, dt_max=1.0), 64)
    linear, inverse = np.pi * np.arange(4), 8 / np.pi * (8 / np.array([1, 3, 5, 7]) - 1)
    np.testing.assert_allclose(params["lambda_imag"][3], linear if frequencies == "linear" else inverse, rtol=1e-6)
    np.testing.assert_allclose(np.exp(params["log_rate"]), 0.5, rtol=1e-6)
    assert uniform(params["log_dt"], np.log(0.01), np.log(1.0))
    assert all(centred(part, 0.5) for part in params["modes"]) and centred(params["skip"], 1)
    assert centred(params["kernel"], 1 / 64)


def test_linoss_starts_uniformly():
    params = initial(jaxrnn.linoss(64, states=256), 16)
    assert uniform(params["stiffness"], 0, 1) and uniform(params["dt_logit"], 0, 1)
    assert uniform(params["kernel"], -1 / 4, 1 / 4) and uniform(params["readout"], -1 / 16, 1 / 16)
    assert centred(params["skip"], 1 / 16)


def test_ffm_starts_with_rates_and_periods_at_equal_distances():
    params = initial(jaxrnn.ffm(64, traces=5, contexts=3, max_period=101), 256)
    np.testing.assert_allclose(params["alpha"], np.linspace(np.log(100) / 101, 0.67, 5), rtol=1e-5)
    np.testing.assert_allclose(2 * np.pi / params["omega"], [1, 51, 101], rtol=1e-5)
    assert all(centred(params[name], 1 / 256) for name in ("kernel", "output_kernel"))
    assert centred(params["readout"], 1 / 30)
    assert not any(params[name].any() for name in ("bias", "output_bias", "readout_bias"))


def test_rot_rnn_starts_with_rates_spread_over_their_logarithm():
    params = initial(jaxrnn.rot_rnn(64, states=1024, heads=512, gamma_min=0.5, gamma_max=0.99, max_phase=1.5), 32)
    assert uniform(params["nu"], np.log(-np.log(0.99)), np.log(-np.log(0.5)))
    assert uniform(params["theta"], 0, 1.5)
    assert centred(params["kernel"], 1 / 32) and centred(params["readout"], 1 / 2048)
    assert centred(params["skip"], 1 / 32)


def test_mamba_starts_as_published():
    params = initial(jaxrnn.mamba(1024, states=4, rank=9, dt_min=0.01, dt_max=0.5), 256)
    assert uniform(np.log(softplus(params["step_bias"])), np.log(0.01), np.log(0.5))
    assert uniform(params["step_up"], -1 / 3, 1 / 3)
    np.testing.assert_allclose(np.exp(params["log_rate"]), np.tile([1, 2, 3, 4], (1024, 1)), rtol=1e-6)
    np.testing.assert_array_equal(params["skip"], 1)
    for name, inputs in (("kernel", 256), ("input", 1024), ("read", 1024), ("step_down", 1024)):
        assert centred(params[name], 1 / inputs)


# --- with a matrix for a state -------------------------------------------------------------------------------------


MATRIX_CELLS = (
    *(jaxrnn.delta_net, jaxrnn.delta_product, jaxrnn.gated_delta_net, jaxrnn.kda),
    *(jaxrnn.gla, jaxrnn.hgrn2, jaxrnn.mlstm, jaxrnn.retention, jaxrnn.ssd),
)


@pytest.mark.sampled
@pytest.mark.parametrize("make", MATRIX_CELLS)
def test_kernels_start_with_the_variance_of_their_inputs(make):
    params = initial(make(32), 256)
    read = ("query", "key", "value", "gate", "input", "read")
    rates = () if make is jaxrnn.mlstm else ("rate", "step", "decay_down", "step_down", "gate_down")
    assert all(centred(params[name], 1 / 256) for name in params.keys() & {*read, *rates})
    assert centred(params["out"], 1 / 32)
    np.testing.assert_array_equal(params["scale"], 1)


def test_a_fast_weight_programmer_has_no_norm():
    params = initial(jaxrnn.fast_weight_programmer(32), 256)
    assert all(centred(params[name], 1 / 256) for name in ("query", "key", "value", "rate"))
    assert centred(params["out"], 1 / 32) and "scale" not in params


@pytest.mark.parametrize(
    ("cell", "low", "high"),
    [
        (jaxrnn.ssd(1, heads=1000, keys=1, values=1, dt_min=0.01, dt_max=0.5), 0.01, 0.5),
        (jaxrnn.gated_delta_net(1, heads=1000, keys=1, values=1), 0.001, 0.1),
    ],
    ids=["ssd", "gated_delta_net"],
)
def test_steps_and_rates_start_as_in_mamba_2(cell, low, high):
    params = initial(cell, 1)
    assert uniform(np.log(softplus(params["step_bias"])), np.log(low), np.log(high))
    assert uniform(np.exp(params["log_rate"]), 1, 16)


def test_kda_starts_as_mamba_2_with_a_step_per_channel():
    params = initial(jaxrnn.kda(1, heads=500, keys=2, values=16), 3)
    assert uniform(np.log(softplus(params["step_bias"])), np.log(0.001), np.log(0.1))
    assert uniform(np.exp(params["log_rate"]), 1, 16)
    assert centred(params["step_up"], 1 / 2) and centred(params["gate_up"], 1 / 16)


def test_ssd_starts_with_the_input_beside_the_state():
    np.testing.assert_array_equal(initial(jaxrnn.ssd(8), 3)["skip"], 1)


def test_gated_linear_attention_starts_by_keeping():
    """`σ(…)^(1/16)` is close to 1 before anything is learned: the gate is `W₂ W₁ x`, of the variance of `x`."""
    cell = jaxrnn.gla(64)
    params = initial(cell, 256)
    assert params["decay_down"].shape == (256, 1, 16)
    assert centred(params["decay_up"], 1 / 16)
    assert not params["decay_bias"].any()
    decay = cell.project(params, np.random.default_rng(0).normal(size=(100, 256))).inputs[0].log_decay
    assert 0.9 < np.exp(decay).mean() < 0.99


def test_mlstm_starts_with_a_ladder_of_forget_gates():
    """They see no input; forgetting begins slowly, at another rate in each head; inputs come in whole."""
    params = initial(jaxrnn.mlstm(1000, heads=1000), 3)
    assert not params["rate"].any() and not params["gate_bias"].any()
    np.testing.assert_allclose(params["rate_bias"][1], np.linspace(3, 6, 1000), rtol=1e-6)
    assert centred(params["rate_bias"][0], 0.1**2)
