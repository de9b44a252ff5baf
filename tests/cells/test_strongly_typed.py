"""The strongly typed networks against loops in float64 NumPy, with their last input, and their initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, shapes_of, sigma
from compare import assert_close

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H = 7, 2, 3, 4
XS = np.random.default_rng(1).normal(size=(T, B, D))
KEY = jax.random.key(0)


def t_rnn(p, x, last, h):
    """Balduzzi & Ghifary 2016, T-RNN."""
    f = sigma(x @ p["kernel"][:, 0] + p["bias"][0])
    h = f * h + (1 - f) * (x @ p["kernel"][:, 1])
    return h, h


def gates(p, x, last):
    W, V = p["kernel"]
    return (last @ V[:, g] + x @ W[:, g] + p["bias"][g] for g in range(3))


def t_gru(p, x, last, h):
    """Balduzzi & Ghifary 2016, T-GRU."""
    z, f, o = gates(p, x, last)
    h = sigma(f) * h + z * np.tanh(o)
    return h, h


def t_lstm(p, x, last, c):
    """Balduzzi & Ghifary 2016, T-LSTM."""
    z, f, o = gates(p, x, last)
    c = sigma(f) * c + (1 - sigma(f)) * z
    return c, c * np.tanh(o)


EQUATIONS = [t_rnn, t_gru, t_lstm]
every_equation = pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.__name__)


def cell_of(equation, **options):
    return jaxrnn.cells.CONSTRUCTORS[equation.__name__](H, **options)


def looped(equation, params, xs, last, state):
    ys = []
    for x in xs:
        state, y = equation(params, x, last, state)
        last = x
        ys.append(y)
    return state, np.array(ys)


@every_equation
def test_equals_a_loop_in_numpy(equation):
    """From the carry after some steps, of which the last one's input counts."""
    cell = cell_of(equation)
    params = random_params(cell, D)
    start = random_like(cell.init_carry(params, (B,)), seed=1)
    carry, _ = jaxrnn.step(cell, params, start, XS[0])
    state, expected = looped(equation, params, XS[1:], XS[0], np.asarray(carry[0]))
    for method in jaxrnn.methods(cell):
        after, ys = jaxrnn.unroll(cell, params, XS[1:], carry, method=method)
        assert_close((ys, after[0]), (expected, state), 1e-12)


@every_equation
def test_holes_are_no_last_input_and_a_reset_has_none(equation):
    cell = cell_of(equation)
    params, zeros = random_params(cell, D), (np.zeros(D), np.zeros(H))
    mask, resets = np.array([1, 0, 1, 1, 0, 1, 1], bool), np.array([0, 0, 0, 0, 1, 0, 0], bool)
    apart = [looped(equation, params, XS[steps, 0], *zeros)[1] for steps in ([0, 2, 3], [5, 6])]
    _, ys = jaxrnn.unroll(cell, params, XS[:, 0], mask=mask, resets=resets)
    np.testing.assert_allclose(ys[mask], np.concatenate(apart), rtol=0, atol=1e-12)


@pytest.mark.parametrize("equation", [t_gru, t_lstm], ids=lambda equation: equation.__name__)
def test_the_nonlinearity_of_the_output_is_an_option(equation):
    """It is the only one but σ: as the identity it makes the output a product with a linear gate."""
    cell = cell_of(equation, activation=lambda o: o)
    params = random_params(cell, D)
    z, f, o = gates(params, XS[0], np.zeros_like(XS[0]))
    expected = z * o if equation is t_gru else (1 - sigma(f)) * z * o
    np.testing.assert_allclose(jaxrnn.unroll(cell, params, XS[:1])[1][0], expected, rtol=0, atol=1e-12)


@every_equation
def test_kernels_start_with_the_variance_of_their_inputs(equation):
    make, window = jaxrnn.cells.CONSTRUCTORS[equation.__name__], 1 if equation is t_rnn else 2
    params = jax.jit(make(64).init, static_argnums=1)(KEY, 32)
    np.testing.assert_allclose(params["kernel"].std(), 1 / np.sqrt(window * 32), rtol=0.05)
    assert params["bias"].shape == ((1, 64) if equation is t_rnn else (3, 64)) and not params["bias"].any()
    assert (cell_of(equation, bias_init=jax.nn.initializers.ones).init(KEY, D)["bias"] == 1).all()


@every_equation
def test_no_bias_is_a_bias_of_zero(equation):
    cell, without = cell_of(equation), cell_of(equation, use_bias=False)
    params = random_params(without, D)
    assert sorted(shapes_of(without, D)) == ["kernel"]
    zeros = {"bias": jnp.zeros(shapes_of(cell, D)["bias"].shape)}
    np.testing.assert_allclose(*(jaxrnn.unroll(c, p, XS)[1] for c, p in ((without, params), (cell, params | zeros))))


@every_equation
def test_a_wrong_width_is_named(equation):
    name = equation.__name__
    with pytest.raises(ValueError, match=f"^{name}: features is 0, expected an int of 1 or more"):
        jaxrnn.cells.CONSTRUCTORS[name](0)
