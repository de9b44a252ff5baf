"""GRU-D against a loop in float64 NumPy, in which missing values and times are what they are in the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, sigma
from cells.equations import B, D, H, T
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)
MEAN = (0.3, -0.8, 0.5)
CELL = jaxrnn.gru_d(H, mean=MEAN)
DRAW = np.random.default_rng(5)
VALUES = np.where(DRAW.random((T, B, D + 1)) < 0.5, np.nan, DRAW.normal(size=(T, B, D + 1)))
GAPS = DRAW.exponential(size=(T, B))


def inputs(values, gaps):
    return np.concatenate([values, gaps[..., None]], -1)


def by_the_paper(p, values, times):
    """Che et al. 2018, equations 2 to 12, over absolute times, from a state of zero: one row."""
    h, states = np.zeros(H), []
    delta, previous = np.zeros(D + 1), np.array(MEAN)
    for t, x in enumerate(values):
        m = ~np.isnan(x)
        if t > 0:
            delta = times[t] - times[t - 1] + np.where(np.isnan(values[t - 1]), delta, 0)
        gamma_x = np.exp(-np.maximum(0, p["input_decay"] * delta + p["input_decay_bias"]))
        gamma_h = np.exp(-np.maximum(0, delta @ p["state_decay"][:, 0] + p["state_decay_bias"]))
        x_hat = np.where(m, x, gamma_x * previous + (1 - gamma_x) * MEAN)
        previous = np.where(m, x, previous)
        h = gamma_h * h
        W, U, V, b = (p[name] for name in ("kernel", "recurrent_kernel", "mask_kernel", "bias"))
        r, z = (sigma(x_hat @ W[:, k] + h @ U[:, k] + m @ V[:, k] + b[k]) for k in range(2))
        candidate = np.tanh(x_hat @ W[:, 2] + (r * h) @ U[:, 2] + m @ V[:, 2] + b[2])
        h = (1 - z) * h + z * candidate
        states.append(h)
    return np.stack(states)


def test_equals_the_paper_over_absolute_times():
    params = random_params(CELL, D + 2)
    times = np.cumsum(GAPS, axis=0)
    expected = np.stack([by_the_paper(params, VALUES[:, b], times[:, b]) for b in range(B)], axis=1)
    gaps = np.diff(times, axis=0, prepend=times[:1])  # the first step is at time 0 of its sequence
    assert_close(jaxrnn.unroll(CELL, params, inputs(VALUES, gaps))[1], expected, 1e-12)


def test_goes_on_from_any_carry():
    """A chunk goes on where the chunk before it ended: with what was observed there, and the time since then."""
    params, xs = random_params(CELL, D + 2), inputs(VALUES, GAPS)
    carry, whole = jaxrnn.unroll(CELL, params, xs)
    half, first = jaxrnn.unroll(CELL, params, xs[:3])
    after, second = jaxrnn.unroll(CELL, params, xs[3:], half)
    assert_close((after, np.concatenate([first, second])), (carry, whole), 1e-12)


# --- what it is for -------------------------------------------------------------------------------------------------


def test_what_is_missing_decays_from_the_last_value_to_the_mean():
    """A linear unit that shows its input: 1 at once, `exp(−0.7 δ)` of the way from the mean after a time δ."""
    cell = jaxrnn.gru_d(1, mean=(-2.0,), activation=lambda x: x, gate_activation=jnp.ones_like)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, 2))
    params |= {"kernel": jnp.ones((1, 3, 1)), "input_decay": jnp.full(1, 0.7)}
    values, gaps = np.array([np.nan, 1.0, np.nan, np.nan, np.nan, 5.0]), np.array([9.0, 1.0, 0.5, 0.0, 3.0, 1.0])
    ys = jaxrnn.unroll(cell, params, np.stack([values, gaps], -1))[1][:, 0]
    since = np.array([0.5, 0.5, 3.5])
    np.testing.assert_allclose(ys, [-2, 1, *(-2 + 3 * np.exp(-0.7 * since)), 5], rtol=1e-6)


def test_a_step_without_any_value_is_a_step_and_an_invalid_one_is_none():
    params, xs = random_params(CELL, D + 2), inputs(VALUES, GAPS)
    xs[2, :, :-1] = np.nan
    mask = np.ones((T, B), bool)
    mask[2] = False
    whole, masked = (jaxrnn.unroll(CELL, params, xs, mask=m)[1] for m in (None, mask))
    fewer = np.delete(xs, 2, axis=0)
    fewer[2, :, -1] += xs[2, :, -1]
    assert_close(np.delete(masked, 2, axis=0), jaxrnn.unroll(CELL, params, fewer)[1], 1e-12)
    assert np.abs(whole[-1] - masked[-1]).max() > 1e-3


def test_gradients_are_finite_and_none_goes_to_a_missing_value():
    params, xs = CELL.init(KEY, D + 2), jnp.asarray(inputs(VALUES, GAPS))
    gradient = jit(jax.grad(lambda params, xs: jnp.sin(jaxrnn.unroll(CELL, params, xs)[1]).sum(), argnums=(0, 1)))
    of_params, of_xs = gradient(params, xs)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(of_params))  # decays can begin
    assert np.isfinite(of_xs).all()
    np.testing.assert_array_equal(of_xs[np.isnan(xs)], 0)
    assert (of_xs[..., :-1][~np.isnan(xs[..., :-1])] != 0).all()


def test_a_missing_time_is_no_missing_value():
    params, xs = CELL.init(KEY, D + 2), inputs(VALUES, GAPS)
    xs[3, 0, -1] = np.nan
    ys = np.asarray(jaxrnn.unroll(CELL, params, xs)[1])
    assert np.isnan(ys[3:, 0]).all() and np.isfinite(ys[:3]).all() and np.isfinite(ys[:, 1:]).all()


def test_starts_without_decays():
    params = CELL.init(KEY, D + 2)
    decays = {name for name in params if "decay" in name}
    assert len(decays) == 4 and not any(params[name].any() for name in decays)
    drawn = jaxrnn.gru_d(H, decay_init=jax.nn.initializers.ones).init(KEY, D + 2)
    assert (drawn["input_decay"] == 1).all() and drawn["state_decay"].shape == (D + 1, 1, H)
    bare = jaxrnn.gru_d(H, use_bias=False)
    assert not any("bias" in name for name in bare.init(KEY, D + 2))
    without = {name: 0 * p if "bias" in name else p for name, p in random_params(CELL, D + 2).items()}
    some = {name: p for name, p in without.items() if "bias" not in name}
    xs = inputs(VALUES, GAPS)
    assert_close(jaxrnn.unroll(bare, some, xs)[1], jaxrnn.unroll(jaxrnn.gru_d(H), without, xs)[1], 1e-12)


@pytest.mark.every
def test_gradients_of_a_random_carry_are_those_of_finite_differences():
    params, xs = random_params(CELL, D + 2), inputs(VALUES, GAPS)
    carry = random_like(CELL.init_carry(params, (B,)), seed=1)
    way = random_like(carry, seed=2)
    run = jit(lambda carry: jnp.sin(jaxrnn.unroll(CELL, params, xs, carry)[1]).sum())
    plus, minus = (run(jax.tree.map(lambda c, w, s=s: c + s * 1e-6 * w, carry, way)) for s in (1, -1))
    slope = jax.jvp(run, (carry,), (way,))[1]
    np.testing.assert_allclose(slope, (plus - minus) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "transform",
    [
        jaxrnn.learned_carry,
        lambda cell: jaxrnn.zoneout(cell, 0.1),
        jaxrnn.weight_norm,
        lambda cell: jaxrnn.learned_carry(jaxrnn.zoneout(cell, 0.1)),
    ],
    ids=["learned_carry", "zoneout", "weight_norm", "both"],
)
def test_transforms_take_a_cell_with_a_mean_of_each_feature(transform):
    """They look at the cell before they know its inputs, of which it takes one width alone."""
    params = jax.eval_shape(lambda: transform(CELL).init(KEY, len(MEAN) + 1))
    assert params.keys() >= {"mask_kernel", "state_decay"}
