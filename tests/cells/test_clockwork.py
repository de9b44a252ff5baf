"""Clockwork RNN against a loop in float64 NumPy, and when its groups change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from cells.equations import B, D
from cells.test_linear_initializers import centred, initial
from compare import assert_close

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

PERIODS = (1, 2, 3)
GROUPS = ((0, 3, 1), (3, 5, 2), (5, 7, 3))  # of 7 units: from, to, period
CELL = jaxrnn.clockwork(7, periods=PERIODS)


def clockwork(p, xs, h, first):
    """Koutník et al. 2014, equations 1 to 3, group by group, from step `first` on."""
    ys = []
    for t, x in enumerate(xs, first):
        new = h.copy()
        for begin, end, period in GROUPS:
            if t % period == 0:
                seen = [k for start, stop, other in GROUPS for k in range(start, stop) if other >= period]
                drive = x @ p["kernel"][:, 0, begin:end] + p["bias"][0, begin:end]
                new[:, begin:end] = np.tanh(drive + h[:, seen] @ p["recurrent_kernel"][seen, 0, begin:end])
        h = new
        ys.append(h)
    return h, np.stack(ys)


def test_equals_a_loop_in_numpy():
    params, draw = random_params(CELL, D), np.random.default_rng(0)
    h, xs = draw.normal(size=(B, 7)), draw.normal(size=(9, B, D))
    for count in (0, 4):
        carry = type(CELL.init_carry(params))(h, np.full(B, count, np.int32))
        after, ys = jaxrnn.unroll(CELL, params, xs, carry)
        assert_close((after.h, ys), clockwork(params, xs, h, count), 1e-12)
        np.testing.assert_array_equal(after.steps, count + 9)


def test_a_masked_step_does_not_count():
    """Steps left out give the same states and counts."""
    params, xs = random_params(CELL, D), np.random.default_rng(0).normal(size=(9, B, D))
    mask = np.ones((9, B), bool)
    mask[[1, 4, 5]] = False
    carry, ys = jaxrnn.unroll(CELL, params, xs, mask=mask)
    fewer, expected = jaxrnn.unroll(CELL, params, xs[mask[:, 0]])
    assert_close((carry, ys[mask[:, 0]]), (fewer, expected), 1e-12)
    np.testing.assert_array_equal(carry.steps, 6)


def test_slow_groups_do_not_see_fast_ones():
    """The gradient of a slow group's last state by the first state of the fast one is zero, and not the reverse."""
    params, xs = CELL.init(jax.random.key(0), D), jnp.ones((7, D))

    def last(h):
        return jaxrnn.unroll(CELL, params, xs, CELL.init_carry(params)._replace(h=h))[1][-1]

    jacobian = jax.jacobian(last)(jnp.full(7, 0.1))
    assert (jacobian[5:, :5] == 0).all() and (jacobian[3:5, :3] == 0).all()
    assert (jacobian[:3, 5:] != 0).all() and (jacobian[3:5, 5:] != 0).all()


def test_starts_as_published():
    params = initial(jaxrnn.clockwork(128, periods=(1, 2)), 64)
    assert centred(params["kernel"], 0.01) and not params["bias"].any()
    kernel = params["recurrent_kernel"][:, 0]
    assert not kernel[:64, 64:].any()
    assert all(centred(part, 0.01) for part in (kernel[64:], kernel[:64, :64]))


def test_there_is_a_group():
    with pytest.raises(ValueError) as error:
        jaxrnn.clockwork(8, periods=())
    assert str(error.value) == "clockwork: periods is (), expected one for each group, such as (1, 2, 4, 8)"


def test_what_a_kernel_lacks_has_no_gradient():
    params, xs = random_params(CELL, D), np.random.default_rng(0).normal(size=(9, B, D))
    gradient = jax.grad(lambda params: jaxrnn.unroll(CELL, params, xs)[1].sum())(params)["recurrent_kernel"][:, 0]
    np.testing.assert_array_equal(gradient != 0, CELL.init(jax.random.key(0), D)["recurrent_kernel"][:, 0] != 0)
