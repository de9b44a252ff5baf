"""Phased LSTM against a loop in float64 NumPy, and what its time gates are for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, sigma
from cells.equations import B, D, H, gates, hold
from cells.test_linear_initializers import initial, uniform
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)
CELL = jaxrnn.phased_lstm(H, leak=0.3)


def phased_lstm(p, x, c, h, cycles):
    """Neil et al. 2016, with the time in each unit's own periods, and an output gate that sees the state before k."""
    z_i, z_f, z_g, z_o = gates(p, x[:, :-1], h)
    p_i, p_f, p_o = p["peephole"]
    new_c = sigma(z_f + p_f * c) * c + sigma(z_i + p_i * c) * np.tanh(z_g)
    new_h = sigma(z_o + p_o * new_c) * np.tanh(new_c)
    period, ratio = np.exp(p["log_period"]), sigma(p["open_logit"])
    time = cycles * period + x[:, -1:]
    phase = np.mod(time - p["shift"], period) / period
    k = np.select([phase < ratio / 2, phase < ratio], [2 * phase / ratio, 2 - 2 * phase / ratio], 0.3 * phase)
    c, h = k * new_c + (1 - k) * c, k * new_h + (1 - k) * h
    return (c, h, np.mod(time, period) / period), h


def test_equals_a_loop_in_numpy():
    hold(phased_lstm, CELL)


# --- what time gates are for ----------------------------------------------------------------------------------------

TIMES = np.cumsum(np.random.default_rng(3).exponential(size=(40, B)), axis=0)


def at_times(times):
    """Inputs with these times, and the beginning of each sequence at time 0."""
    values = np.random.default_rng(4).normal(size=(len(times), B, D))
    return np.concatenate([values, np.diff(times, axis=0, prepend=0)[..., None]], -1)


def outputs(cell, params, times):
    return np.asarray(jit(lambda params, xs: jaxrnn.unroll(cell, params, xs)[1])(params, at_times(times)))


def test_times_shift_nothing_by_whole_periods_or_with_the_gates():
    params = random_params(CELL, D + 1) | {"log_period": np.full(H, np.log(1.7))}
    expected = outputs(CELL, params, TIMES)
    assert_close(outputs(CELL, params, TIMES + 5 * 1.7), expected, 1e-12)
    assert np.abs(outputs(CELL, params, TIMES + 0.5 * 1.7) - expected).max() > 0.1
    later = params | {"shift": params["shift"] + 0.4}
    assert_close(outputs(CELL, later, TIMES + 0.4), expected, 1e-12)


def resting(params):
    """Units that are open within the first tenth of periods of 1000 alone."""
    return params | {"log_period": np.full(H, np.log(1e3)), "shift": np.zeros(H), "open_logit": np.full(H, -np.log(9))}


def test_what_comes_while_gates_are_closed_changes_nothing():
    """At whatever times, as if it had been left out, without a leak."""
    cell = jaxrnn.phased_lstm(H, leak=0.0)
    params = resting(random_params(cell, D + 1))
    times = np.concatenate([20.0 * np.arange(1, 5), 100 + 30 * np.sort(np.random.default_rng(0).random(20)), [1050.0]])
    ys = outputs(cell, params, np.broadcast_to(times[:, None], (25, B)))
    assert_close(ys[4:-1], np.broadcast_to(ys[3], (20, B, H)), 1e-15)
    assert np.abs(ys[-1] - ys[3]).max() > 0.1
    closed = (times > 100) & (times < 1000)
    xs = at_times(np.broadcast_to(times[:, None], (25, B)))
    mask = np.broadcast_to(~closed[:, None], (25, B))
    assert_close(jaxrnn.unroll(cell, params, xs, mask=mask)[1][-1], ys[-1], 1e-12)


def test_a_gradient_passes_a_rest_whole_where_that_of_an_lstm_vanishes():
    """Over 500 steps in a closed phase, with the same weights for both."""
    steps = 500
    cell, peers = jaxrnn.phased_lstm(H, leak=0.0), jaxrnn.peephole_lstm(H)
    params = resting(random_params(cell, D + 1))
    xs = at_times(np.broadcast_to(np.linspace(101.0, 999.0, steps)[:, None], (steps, B)))

    def kept(cell, params, xs):
        """The derivative of the sum of the last cell state by the first."""
        first = cell.init_carry(params, (B,))
        return jax.grad(lambda c: jaxrnn.unroll(cell, params, xs, first._replace(c=c))[0].c.sum())(first.c)

    np.testing.assert_array_equal(kept(cell, params, xs), 1)
    own = {name: params[name] for name in ("kernel", "recurrent_kernel", "bias", "peephole")}
    assert np.abs(kept(peers, own, xs[..., :-1])).max() < 1e-20


def test_starts_with_periods_spread_over_their_logarithm():
    make = partial(jaxrnn.phased_lstm, recurrent_kernel_init=jaxrnn.initializers.zeros)  # others take seconds
    params = initial(make(1024, period_min=2.0, period_max=50.0, open_ratio=0.2), 3)
    assert uniform(params["log_period"], np.log(2), np.log(50))
    assert uniform(params["shift"] / np.exp(params["log_period"]), 0, 1)
    np.testing.assert_allclose(sigma(params["open_logit"]), 0.2, rtol=1e-6)
    assert not params["peephole"].any() and (params["bias"][1] == 1).all()


@pytest.mark.every
def test_a_stream_of_many_short_gaps_keeps_its_time():
    """Ten thousand gaps of 0.01 in single precision, in which their running sum is off by 0.003."""
    assert abs(np.cumsum(np.full(10_000, 0.01, np.float32))[-1] - 100) > 0.002
    cell, period = jaxrnn.phased_lstm(1, dtype=jnp.float32), 3.0
    params = jax.tree.map(jnp.float32, cell.init(KEY, 2)) | {"log_period": jnp.log(jnp.full(1, period, jnp.float32))}
    cycles = jaxrnn.unroll(cell, params, jnp.full((10_000, 2), 0.01, jnp.float32))[0].cycles
    assert cycles.dtype == jnp.float32
    np.testing.assert_allclose(cycles * period, 100 % period, atol=5e-4)
