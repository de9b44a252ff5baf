"""Cells that were made for one purpose each, against loops in float64 NumPy, and whether they serve it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import sigma
from cells.equations import D, H, every_equation, hold

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)
PLAIN = {"recurrent_kernel_init": jaxrnn.initializers.lecun_normal}  # compiles in less time than a QR decomposition


def unicornn(p, x, y, z):
    """Rusch & Mishra 2021, equation 3, with Δt = 0.3 and α = 2."""
    step = 0.3 * (0.5 + 0.5 * np.tanh(p["dt_logit"] / 2))
    force = np.tanh(p["recurrent_kernel"][0] * y + x @ p["kernel"][:, 0] + p["bias"][0])
    z = z - step * (force + 2 * y)
    y = y + step * z
    return (y, z), y


def mc_lstm(p, x, c):
    """Hoedt et al. 2021, equations 2 to 7, with one mass and constant shares; softmax is over the cells."""
    a = x[:, 1:]
    i, o = (drive(p, a, k) + turn(p, c / np.abs(c).sum(-1, keepdims=True), k) for k in (0, 1))
    m = c @ soft(p["redistribution_bias"]) + soft(i) * x[:, :1]
    return (m - sigma(o) * m,), sigma(o) * m


def mc_lstm_gated(p, x, c):
    """Hoedt et al. 2021, equation 8: the shares of the two cells depend on inputs and state."""
    u = c / np.abs(c).sum(-1, keepdims=True)
    i, o, first, second = (drive(p, x[:, 1:], k) + turn(p, u, k) for k in range(4))
    m = c[:, :1] * soft(first) + c[:, 1:] * soft(second) + soft(i) * x[:, :1]
    return (m - sigma(o) * m,), sigma(o) * m


def wmc_lstm(p, x, c, h):
    """Landi et al. 2021."""
    V_i, V_f, V_o = np.moveaxis(p["cell_kernel"], 1, 0)
    i, f, g, o = (drive(p, x, k) + turn(p, h, k) for k in range(4))
    c = sigma(f + np.tanh(c @ V_f)) * c + sigma(i + np.tanh(c @ V_i)) * np.tanh(g)
    h = sigma(o + np.tanh(c @ V_o)) * np.tanh(c)
    return (c, h), h


def memory_controller_lstm(p, x, c, v):
    """Ben-Ari & Shwartz-Ziv 2017."""
    i, f, g, o, m = (drive(p, x, k) + turn(p, v, k) for k in range(5))
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return (c, sigma(m) * np.tanh(c)), sigma(o) * np.tanh(c)


def scrn(p, x, h, s):
    """Mikolov et al. 2015, equations 4 and 5, with α = 0.8."""
    s = 0.2 * x @ p["input_kernel"][:, 0] + 0.8 * s
    h = sigma(s @ p["context_kernel"][:, 0] + drive(p, x, 0) + turn(p, h, 0))
    return (h, s), np.concatenate([h, s], axis=-1)


def nas(p, x, c, h):
    """Zoph & Le 2017, as their tree was published with TensorFlow: the fourth leaf is a product."""
    a = [drive(p, x, k) + turn(p, h, k) for k in range(8)]
    a[3] = drive(p, x, 3) * turn(p, h, 3)
    left = np.tanh(sigma(a[0]) * np.maximum(a[1], 0)), np.tanh(sigma(a[2]) + np.maximum(a[3], 0))
    right = np.tanh(np.tanh(a[4]) * sigma(a[5])), sigma(np.tanh(a[6]) + sigma(a[7]))
    c = np.tanh(left[0] + c) * left[1]
    h = np.tanh(c * np.tanh(right[0] + right[1]))
    return (c, h), h


def tau_gru(p, x, h, past):
    """Erichson et al. 2022, with a delay of 3."""
    u, g, a = (drive(p, x, k) + turn(p, h, k) for k in range(3))
    z = np.tanh(drive(p, x, 3) + turn(p, past[:, 0], 3))
    past = np.concatenate([past[:, 1:], h[:, None]], axis=1)
    h = (1 - sigma(g)) * h + sigma(g) * (np.tanh(u) + sigma(a) * z)
    return (h, past), h


def recurrent_highway(p, x, s):
    """Zilly et al. 2017, equations 7 to 9, with three layers and coupled gates."""
    zeros = np.zeros_like(drive(p, x, 0))
    for layer in range(3):
        W = p["recurrent_kernel"] if layer == 0 else p["transition_kernel"][:, 2 * layer - 2 : 2 * layer]
        b = (
            (drive(p, x, 0), drive(p, x, 1))
            if layer == 0
            else zeros + p["transition_bias"][2 * layer - 2 : 2 * layer, None]
        )
        t = sigma(s @ W[:, 1] + b[1])
        s = np.tanh(s @ W[:, 0] + b[0]) * t + s * (1 - t)
    return (s,), s


def drive(p, x, g):
    """`W x + b` of one gate."""
    return x @ p["kernel"][:, g] + p["bias"][g]


def turn(p, h, g):
    """`U h` of one gate."""
    return h @ p["recurrent_kernel"][:, g]


def soft(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


EQUATIONS = {
    unicornn: jaxrnn.unicornn(H, dt=0.3, stiffness=2.0),
    mc_lstm: jaxrnn.mc_lstm(H),
    mc_lstm_gated: jaxrnn.mc_lstm(2, redistribution="gated"),
    wmc_lstm: jaxrnn.wmc_lstm(H),
    memory_controller_lstm: jaxrnn.memory_controller_lstm(H),
    scrn: jaxrnn.scrn(H, context_features=3, decay=0.8),
    nas: jaxrnn.nas(H),
    tau_gru: jaxrnn.tau_gru(H, delay=3),
    recurrent_highway: jaxrnn.recurrent_highway(H, depth=3),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: jaxrnn.unicornn(8, dt=0), "unicornn: dt is 0, expected a positive number"),
        (lambda: jaxrnn.unicornn(8, stiffness=-1), "unicornn: stiffness is -1, expected a number α ≥ 0"),
        (
            lambda: jaxrnn.unicornn(8, dt=0.5),
            "unicornn: α Δt² is 7.6625, expected less than 4, or each step overshoots; lower dt",
        ),
        (lambda: jaxrnn.scrn(8, decay=1.0), "scrn: decay is 1.0, expected a share 0 < α < 1"),
        (
            lambda: jaxrnn.mc_lstm(8, masses=3).init(KEY, 3),
            "mc_lstm: inputs have 3 features, expected 4 or more: the first 3 are masses, which gates do not see",
        ),
    ],
)
def test_a_wrong_argument_is_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


def test_a_unicornn_begins_as_published():
    params = jax.tree.map(np.asarray, jaxrnn.unicornn(4000).init(KEY, 9))
    for name, low, high in (
        ("recurrent_kernel", 0, 1),
        ("dt_logit", -0.1, 0.1),
        ("kernel", -np.sqrt(6 / 65 / 9), np.sqrt(6 / 65 / 9)),
    ):
        shares = (params[name].ravel() - low) / (high - low)
        assert shares.min() >= 0 and shares.max() <= 1
        np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)
    assert not params["bias"].any()


def test_oscillators_of_a_unicornn_do_not_see_each_other():
    cell = jaxrnn.unicornn(H)
    params, carry = cell.init(KEY, D), jaxrnn.CoRNNCarry(jnp.ones(H), -jnp.ones(H))
    jacobian = jax.jacobian(lambda carry: jaxrnn.step(cell, params, carry, jnp.ones(D))[0])(carry)
    for block in jax.tree.leaves(jacobian):
        np.testing.assert_array_equal(block, np.diag(np.diag(block)))
    (hh, hv), (vh, vv) = ([np.diag(block) for block in row] for row in jacobian)
    np.testing.assert_allclose(hh * vv - hv * vh, 1, rtol=0, atol=1e-12)  # a step keeps all volumes


def test_a_cell_with_forget_or_transform_gates_begins_as_it_was_told():
    bias = jaxrnn.wmc_lstm(H, forget_bias=2.5, **PLAIN).init(KEY, D)["bias"]
    np.testing.assert_array_equal(bias, np.array([0, 2.5, 0, 0])[:, None] * np.ones(H))
    params = jaxrnn.recurrent_highway(H, depth=3, transform_bias=-4.0, **PLAIN).init(KEY, D)
    np.testing.assert_array_equal(params["bias"], np.array([0, -4])[:, None] * np.ones(H))
    np.testing.assert_array_equal(params["transition_bias"], np.array([0, -4, 0, -4])[:, None] * np.ones(H))


def test_a_highway_of_one_layer_has_no_others():
    assert set(jaxrnn.recurrent_highway(H, depth=1, **PLAIN).init(KEY, D)) == {"kernel", "recurrent_kernel", "bias"}
    assert "transition_bias" not in jaxrnn.recurrent_highway(H, use_bias=False, **PLAIN).init(KEY, D)


@pytest.mark.parametrize("redistribution", ["constant", "gated"])
def test_an_mc_lstm_begins_as_published(redistribution):
    params = jaxrnn.mc_lstm(H, masses=2, redistribution=redistribution, **PLAIN).init(KEY, 5)
    gates = 3 + H * (redistribution == "gated")
    assert params["kernel"].shape == (3, gates, H) and params["recurrent_kernel"].shape == (H, gates, H)
    np.testing.assert_array_equal(params["bias"][:3], np.array([0, 0, -3])[:, None] * np.ones(H))
    rows = params["bias"][3:] if redistribution == "gated" else params["redistribution_bias"]
    np.testing.assert_array_equal(rows, np.eye(H))


@pytest.mark.parametrize("redistribution", ["constant", "gated"])
def test_an_mc_lstm_neither_makes_nor_loses_mass(redistribution):
    """In single precision, over 200 steps: what came in is what went out and what is left."""
    cell, masses = jaxrnn.mc_lstm(H, masses=2, redistribution=redistribution, output_bias=0.0, **PLAIN), 2
    params = jax.tree.map(lambda p: p + 0.5 * jax.random.normal(KEY, p.shape, p.dtype), cell.init(KEY, 5))
    xs = jax.random.uniform(KEY, (200, 3, 5), jnp.float32)
    carry = jaxrnn.HiddenCarry(jnp.full((3, H), 7, jnp.float32))
    after, ys = jaxrnn.unroll(cell, params, xs, carry)
    assert ys.dtype == jnp.float32 and ys.min() > 0 and after.h.min() > 0
    came = carry.h.sum(-1) + xs[..., :masses].sum((0, 2))
    went, left = ys.sum((0, 2)), after.h.sum(-1)
    assert (went > 0.1 * came).all() and (left > 1e-3 * came).all()
    np.testing.assert_allclose(went + left, came, rtol=1e-5)


def test_an_mc_lstm_keeps_its_mass_in_half_precision():
    """Gates are computed in bfloat16, which has three digits; shares of masses are not."""
    cell = jaxrnn.mc_lstm(H, dtype=jnp.bfloat16, output_bias=-1e9, **PLAIN)  # nothing goes out
    xs = jax.random.uniform(KEY, (200, 3), jnp.float32)
    after, _ = jaxrnn.unroll(cell, cell.init(KEY, 3), xs)
    assert after.h.dtype == jnp.float32
    np.testing.assert_allclose(after.h.sum(), xs[:, 0].sum(), rtol=1e-5)


def test_the_mass_of_an_mc_lstm_passes_masks_and_goes_at_resets():
    cell = jaxrnn.mc_lstm(H, **PLAIN)
    params, xs = cell.init(KEY, 3), jax.random.uniform(KEY, (6, 3))
    valid = jnp.array([1, 1, 0, 1, 0, 1], bool)
    after, ys = jaxrnn.unroll(cell, params, xs, mask=valid)
    np.testing.assert_allclose(ys.sum() + after.h.sum(), xs[valid, 0].sum(), rtol=1e-12)
    after, ys = jaxrnn.unroll(cell, params, xs, resets=jnp.arange(6) == 4)
    np.testing.assert_allclose(ys[4:].sum() + after.h.sum(), xs[4:, 0].sum(), rtol=1e-12)


def test_an_empty_mc_lstm_has_a_gradient():
    """The share of each cell in the mass is 0 / 0 at first."""
    cell = jaxrnn.mc_lstm(H, **PLAIN)
    params, xs = cell.init(KEY, 3), jnp.zeros((4, 3)).at[2, 0].set(1.0)
    gradients = jax.grad(lambda p, c, x: jaxrnn.unroll(cell, p, x, c)[1].sum(), (0, 1, 2))(
        params, cell.init_carry(params), xs
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_a_delayed_state_comes_back_after_its_delay():
    """With candidates of the delayed state alone, an impulse in the carry is seen d steps later."""
    cell = jaxrnn.tau_gru(1, delay=4, **PLAIN)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 1))
    params["recurrent_kernel"] = params["recurrent_kernel"].at[0, 3].set(1.0)
    params["bias"] = params["bias"].at[1:3].set(50.0)  # both gates are open
    _, ys = jaxrnn.unroll(cell, params, jnp.zeros((11, 1)), cell.init_carry(params)._replace(h=jnp.ones(1)))
    seen = np.flatnonzero(np.abs(ys[:, 0]) > 1e-9)
    np.testing.assert_array_equal(seen, [4, 9])
    np.testing.assert_allclose(ys[seen, 0], [np.tanh(1), np.tanh(np.tanh(1))], atol=1e-9)


# 2,000 steps: the cell, the factor of its recurrent kernel, and how long the gradient of an output of length 1 may be.
LONG = {
    "lem": (jaxrnn.lem(24, dt=0.001, **PLAIN), 1, 0.1, 10),
    "lem, large kernel": (jaxrnn.lem(24, dt=0.001, **PLAIN), 3, 0.1, 10),
    "unicornn": (jaxrnn.unicornn(24), 1, 0.1, 10),
    "unicornn, large kernel": (jaxrnn.unicornn(24), 3, 0.1, 10),
    "lstm vanishes": (jaxrnn.lstm(24, **PLAIN), 1, 0, 1e-100),
    "elman vanishes": (jaxrnn.elman(24, **PLAIN), 1, 0, 1e-100),
    "elman explodes, large kernel": (jaxrnn.elman(24, **PLAIN), 3, 1e100, np.inf),
}


@pytest.mark.parametrize("cell, scale, low, high", LONG.values(), ids=LONG)
def test_gradients_over_2000_steps(cell, scale, low, high):
    """Of the last output in the initial carry. `lem` has small steps here; with long ones it forgets, too."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), cell.init(KEY, 1))
    params["recurrent_kernel"] *= scale
    xs = np.random.default_rng(0).normal(size=(2000, 1))
    norm = norm_of_gradient(cell, params, cell.init_carry(params), xs)
    assert low <= np.nan_to_num(norm, nan=np.inf) <= high


@partial(jax.jit, static_argnums=0)
def norm_of_gradient(cell, params, carry, xs):
    gradient = jax.grad(lambda carry: jaxrnn.unroll(cell, params, xs, carry)[1][-1].sum() / np.sqrt(24))(carry)
    return jnp.sqrt(sum((leaf**2).sum() for leaf in gradient))


def test_transforms_take_a_cell_with_more_masses_than_most_cells_have_inputs():
    cell = jaxrnn.mc_lstm(H, masses=3, **PLAIN)
    assert jaxrnn.learned_carry(cell).init(KEY, 5)["initial_h"].shape == (H,)
    assert jaxrnn.weight_norm(cell).init(KEY, 5)["recurrent_kernel_scale"].shape == (4, H)
    with pytest.raises(ValueError, match="the output of cell is not the field h of its carry"):
        jaxrnn.zoneout(cell, 0.1)
