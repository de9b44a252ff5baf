"""Cells that modulate or project their state, and bistable ones, against loops in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of, sigma
from cells.equations import D, H, every_equation, hold

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def drive(p, x, g):
    """`W x + b` of one gate, where it has a bias."""
    z = x @ p["kernel"][:, g]
    return z + p["bias"][g] if g < len(p["bias"]) else z


def turn(p, h, g):
    """`U h` of one gate."""
    return h @ p["recurrent_kernel"][:, g]


def original_lstm(p, x, c, h):
    """Hochreiter & Schmidhuber 1997: g is a sigmoid from −2 to 2, h one from −1 to 1."""
    i, g, o = (sigma(drive(p, x, k) + turn(p, h, k)) for k in range(3))
    c = c + i * (4 * g - 2)
    h = o * (2 * sigma(c) - 1)
    return (c, h), h


def multiplicative_lstm(p, x, c, h):
    """Krause et al. 2016."""
    m = drive(p, x, 4) * turn(p, h, 4)
    i, f, g, o = (drive(p, x, k) + turn(p, m, k) for k in range(4))
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(c)
    return (c, h), h


def residual(p, x, c, h, passed):
    """Kim et al. 2017, with `passed` in the place of the input."""
    i, f, g, o = (drive(p, x, k) + turn(p, h, k) for k in range(4))
    p_i, p_f, p_o = p["peephole"]
    c = sigma(f + p_f * c) * c + sigma(i + p_i * c) * np.tanh(g)
    h = sigma(o + p_o * c) * (np.tanh(c) @ p["projection"] + passed)
    return (c, h), h


def res_lstm(p, x, c, h):
    return residual(p, x, c, h, x @ p["kernel"][:, 4])


def res_lstm_of_its_width(p, x, c, h):
    return residual(p, x, c, h, x)


def lem(p, x, y, z):
    """Rusch et al. 2022, equation 3, with the longest step 0.7."""
    fast, slow = (0.7 * sigma(drive(p, x, k) + turn(p, y, k)) for k in (0, 1))
    z = (1 - fast) * z + fast * np.tanh(drive(p, x, 2) + turn(p, y, 2))
    y = (1 - slow) * y + slow * np.tanh(drive(p, x, 3) + turn(p, z, 3))
    return (y, z), y


def sgu(p, x, h):
    """Gao & Glowacka 2016."""
    z_g = np.tanh(turn(p, drive(p, x, 0) * h, 0))
    z = np.clip(0.2 * (drive(p, x, 1) + turn(p, h, 1)) + 0.5, 0, 1)
    h = (1 - z) * h + z * np.log1p(np.exp(z_g * h))
    return (h,), h


def dsgu(p, x, h):
    """Gao & Glowacka 2016."""
    z_g = np.tanh(turn(p, drive(p, x, 0) * h, 0))
    z = np.clip(0.2 * (drive(p, x, 1) + turn(p, h, 1)) + 0.5, 0, 1)
    h = (1 - z) * h + z * sigma(turn(p, z_g * h, 2))
    return (h,), h


def nbr(p, x, h):
    """Vecoven et al. 2021."""
    a, c = 1 + np.tanh(drive(p, x, 0) + turn(p, h, 0)), sigma(drive(p, x, 1) + turn(p, h, 1))
    h = c * h + (1 - c) * np.tanh(drive(p, x, 2) + a * h)
    return (h,), h


def br(p, x, h):
    """Vecoven et al. 2021."""
    w_a, w_c = p["recurrent_kernel"]
    a, c = 1 + np.tanh(drive(p, x, 0) + w_a * h), sigma(drive(p, x, 1) + w_c * h)
    h = c * h + (1 - c) * np.tanh(drive(p, x, 2) + a * h)
    return (h,), h


EQUATIONS = {
    original_lstm: jaxrnn.original_lstm(H),
    multiplicative_lstm: jaxrnn.multiplicative_lstm(H),
    res_lstm: jaxrnn.res_lstm(H),
    res_lstm_of_its_width: jaxrnn.res_lstm(D),
    lem: jaxrnn.lem(H, dt=0.7),
    sgu: jaxrnn.sgu(H),
    dsgu: jaxrnn.dsgu(H),
    nbr: jaxrnn.nbr(H),
    br: jaxrnn.br(H),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


@pytest.mark.parametrize("dt", [0, -0.5, 1.5])
def test_a_wrong_time_step_is_named(dt):
    with pytest.raises(ValueError) as error:
        jaxrnn.lem(8, dt=dt)
    assert str(error.value) == f"lem: dt is {dt!r}, expected a longest time step 0 < Δt ≤ 1"


@pytest.mark.parametrize("cell", [jaxrnn.nbr(H), jaxrnn.br(H)], ids=["nbr", "br"])
def test_a_bistable_cell_keeps_its_sign_without_inputs(cell):
    """With `a = 1 + tanh(2)` and `c = 1 / 2` at all states, `h = tanh(a h)` has a stable solution of either sign."""
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, D))
    params["bias"] = params["bias"].at[0].set(2.0)
    start = jnp.array([0.1, -0.1, 0.5, -0.5])
    _, ys = jaxrnn.unroll(cell, params, jnp.zeros((200, D)), cell.init_carry(params)._replace(h=start))
    kept = np.asarray(ys[-1])
    np.testing.assert_allclose(kept, np.tanh((1 + np.tanh(2)) * kept), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(np.sign(kept), np.sign(start))


def test_vectors_of_a_bistable_cell_start_normal():
    w = np.asarray(jaxrnn.br(4000).init(KEY, 1)["recurrent_kernel"])
    assert w.shape == (2, 4000)
    np.testing.assert_allclose([w.mean(), w.std()], [0, 1], atol=0.03)


def test_the_forget_gate_of_a_multiplicative_lstm_starts_at_its_bias():
    bias = jaxrnn.multiplicative_lstm(H, forget_bias=2.5).init(KEY, D)["bias"]
    np.testing.assert_array_equal(bias, np.array([0, 2.5, 0, 0])[:, None] * np.ones(H))


def test_a_residual_lstm_starts_without_peepholes_and_needs_no_kernel_for_inputs_of_its_width():
    params = jax.jit(jaxrnn.res_lstm(64, forget_bias=2.5).init, static_argnums=1)(KEY, 64)
    assert params["kernel"].shape == (64, 4, 64) and not params["peephole"].any()
    np.testing.assert_array_equal(params["bias"], np.array([0, 2.5, 0, 0])[:, None] * np.ones(64))
    np.testing.assert_allclose(params["projection"].std(), 1 / np.sqrt(64), rtol=0.05)
    assert shapes_of(jaxrnn.res_lstm(H), D)["kernel"].shape == (D, 5, H)
    drawn = jaxrnn.res_lstm(H, peephole_init=jax.nn.initializers.ones, projection_init=jax.nn.initializers.zeros)
    params = drawn.init(KEY, D)
    assert (params["peephole"] == 1).all() and not params["projection"].any()
