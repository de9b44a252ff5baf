"""What the cells that vary the classical ones promise beside their equations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

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


@pytest.mark.parametrize("name", BIASED)
def test_no_bias_is_a_bias_of_zero(name):
    without, cell = BIASED[name](H, use_bias=False), BIASED[name](H)
    params = without.init(KEY, D)
    biases = {k: jnp.zeros_like(p) for k, p in cell.init(KEY, D).items() if k not in params}
    assert biases and all("bias" in k for k in biases)
    xs = jax.random.normal(KEY, (T, B, D))
    carry, ys = jaxrnn.unroll(without, params, xs)
    expected = jaxrnn.unroll(cell, params | biases, xs)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, atol=1e-6), (carry, ys), expected)


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


def test_each_head_has_a_ladder_of_its_own():
    bias = jaxrnn.slstm(H, heads=2).init(KEY, D)["bias"][1]
    np.testing.assert_allclose(bias, np.tile([3.0, 4.0, 5.0, 6.0], 2), atol=1e-6)


def test_initial_parameters_of_normalised_cells_do_nothing():
    params = jaxrnn.layer_norm_lstm(H).init(KEY, D)
    assert "bias" not in params
    np.testing.assert_array_equal(params["norm_bias"], np.array([0, 1, 0, 0])[:, None] * np.ones(H))
    assert all((params[name] == 1).all() for name in ("norm_scale", "cell_scale"))


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


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_exponential_gates_do_not_overflow(forget):
    """Pre-activations of ±600, whose exponentials single precision cannot hold, in values and gradients."""
    cell = jaxrnn.slstm(H, heads=2, forget=forget)
    params = cell.init(KEY, D)
    xs = 600 * jnp.sign(jax.random.normal(KEY, (T, B, D)))

    def loss(params, xs):
        carry, ys = jaxrnn.unroll(cell, params, xs, resets=jnp.zeros((T, B), bool).at[3].set(True))
        return (ys**2).sum() + (carry.c / carry.n).sum(), ys

    (_, ys), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, xs)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert jnp.isfinite(ys).all() and (jnp.abs(ys) <= 1).all() and (ys != 0).any()


def test_an_slstm_is_a_mean_of_what_it_took_in():
    """With a forget gate that is open and equal input gates, `c / n` is the mean of all candidates so far."""
    cell = jaxrnn.slstm(1, forget="exp", forget_bias=0.0, forget_spread=0.0)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1)) | {"kernel": jnp.array([[[0.0], [0.0], [1.0], [0.0]]])}
    xs = jax.random.normal(KEY, (T, 1))
    _, ys = jaxrnn.unroll(cell, params, xs)
    means = np.cumsum(np.tanh(xs[:, 0])) / np.arange(1, T + 1)
    np.testing.assert_allclose(ys[:, 0], 0.5 * means, atol=1e-6)


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
