"""Cells that were made for one purpose each, against loops in float64 NumPy, and whether they serve it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from cells.equations import D, H, every_equation, hold

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def unicornn(p, x, y, z):
    """Rusch & Mishra 2021, equation 3, with Δt = 0.3 and α = 2."""
    step = 0.3 * (0.5 + 0.5 * np.tanh(p["dt_logit"] / 2))
    force = np.tanh(p["recurrent_kernel"][0] * y + x @ p["kernel"][:, 0] + p["bias"][0])
    z = z - step * (force + 2 * y)
    y = y + step * z
    return (y, z), y


EQUATIONS = {
    unicornn: jaxrnn.unicornn(H, dt=0.3, stiffness=2.0),
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
