"""Cells whose inputs carry times: what they are given is the time since the step before, in the direction of travel."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H = 7, 3, 3, 4
TIMES = np.cumsum(np.random.default_rng(3).exponential(size=(T, B)), axis=0)
CELL = jaxrnn.cfc(H, backbone_features=5)


def steps(*rows):
    return np.array([[flag == "1" for flag in row] for row in rows]).T


MASK = steps("1100101", "0111010", "1011100")  # holes, padding before the first step and after the last
RESETS = steps("0000100", "0010000", "0101001")  # some at invalid steps
EVERY, NEVER = np.ones((T, B), bool), np.zeros((T, B), bool)


@cache
def problem():
    draw = np.random.default_rng(0)
    shapes = shapes_of(CELL, D)
    params = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape), shapes)
    gaps = np.diff(TIMES, axis=0, prepend=TIMES[:1] - 0.5)  # the first input comes half a unit after the carry
    xs = np.concatenate([draw.normal(size=(T, B, D - 1)), gaps[..., None]], -1)
    return params, xs, jaxrnn.HiddenCarry(draw.normal(size=(B, H)))


def looped(params, xs, carry, mask, resets, *, reverse):
    """Hasani et al. 2022, equation 5, over absolute times, each row and sequence alone."""
    state, ys = np.array(carry.h), np.zeros((T, B, H))
    for b in range(B):
        h, last, number = state[b], None, np.cumsum(resets[:, b])
        here = number[-1] if reverse else 0
        for t in reversed(range(T)) if reverse else range(T):
            if number[t] != here:
                here, h, last = number[t], np.zeros(H), None
            if not mask[t, b]:
                continue
            first = 0.0 if reverse else xs[t, b, -1]
            elapsed = first if last is None else abs(TIMES[t, b] - TIMES[last, b])
            s = xs[t, b, :-1] @ params["kernel"][:, 0] + h @ params["recurrent_kernel"][:, 0] + params["bias"][0]
            s = 1.7159 * np.tanh(0.666 * s)
            f, g, slope, offset = (s @ params["head_kernel"][:, k] + params["head_bias"][k] for k in range(4))
            q = 1 / (1 + np.exp(-(slope * elapsed + offset)))
            h, last = (1 - q) * np.tanh(f) + q * np.tanh(g), t
            ys[t, b] = h
        state[b] = h
    return state, ys


@cache
def unrolled(reverse, remat=None):
    def run(params, xs, carry, mask, resets):
        return jaxrnn.unroll(CELL, params, xs, carry, mask=mask, resets=resets, reverse=reverse, remat=remat)

    def gradient(*args):
        def loss(params, xs):
            carry, ys = run(params, xs, *args[2:])
            return jnp.sin(ys).sum() + carry.h.sum(), (carry, ys)

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(*args[:2])

    return jit(gradient)


both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@both_directions
@pytest.mark.parametrize(
    ("mask", "resets"), [(EVERY, NEVER), (EVERY, RESETS), (MASK, NEVER), (MASK, RESETS)], ids=["", "r", "m", "mr"]
)
def test_equals_a_loop_over_absolute_times(mask, resets, reverse):
    params, xs, carry = problem()
    (_, (after, ys)), _ = unrolled(reverse)(params, xs, carry, mask, resets)
    state, expected = looped(params, xs, carry, mask, resets, reverse=reverse)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(after.h, state, rtol=0, atol=1e-12)


@both_directions
@pytest.mark.parametrize("options", [{}, {"resets": RESETS}], ids=["", "r"])
def test_flags_that_are_not_given_say_nothing(options, reverse):
    params, xs, carry = problem()
    (_, expected), _ = unrolled(reverse)(params, xs, carry, EVERY, options.get("resets", NEVER))
    actual = jaxrnn.unroll(CELL, params, xs, carry, reverse=reverse, **options)
    assert_close(actual, expected, 1e-12)


@both_directions
def test_padding_reaches_nothing_and_of_a_hole_only_a_finite_time_does(reverse):
    """Values and gradients: whatever stands around a row's valid steps, and all but the times between them."""
    params, xs, carry = problem()
    run = unrolled(reverse)
    hole = MASK[::-1].cumsum(0)[::-1].astype(bool) & MASK.cumsum(0).astype(bool) & ~MASK
    padding = ~MASK & ~hole
    assert hole.any() and padding[:1].any() and padding[-1:].any()
    plain = run(params, xs, carry, MASK, NEVER)
    for bad in (np.nan, np.inf, 1e3):
        other = xs.copy()
        other[hole, :-1], other[padding] = bad, bad
        jax.tree.map(np.testing.assert_array_equal, run(params, other, carry, MASK, NEVER), plain)
    empty, unknown = xs.copy(), xs.copy()
    empty[hole, -1], unknown[hole, -1] = 0, np.nan
    without = run(params, empty, carry, MASK, NEVER)
    values = [run(params, unknown, carry, MASK, NEVER), without]
    jax.tree.map(np.testing.assert_array_equal, values[0][0], values[1][0])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values[0]))
    assert np.abs(without[0][1][1] - plain[0][1][1]).max() > 1e-3
    d_xs = plain[1][1]
    assert (d_xs[hole, -1] != 0).all() and (d_xs[hole, :-1] == 0).all() and (d_xs[padding] == 0).all()


@both_directions
def test_lengths_equal_each_row_alone(reverse):
    params, xs, carry = problem()
    lengths = np.array([7, 4, 0])
    _, ys = jaxrnn.unroll(CELL, params, xs, carry, lengths=lengths, reverse=reverse)
    mask = np.arange(T)[:, None] < lengths
    np.testing.assert_allclose(ys, looped(params, xs, carry, mask, NEVER, reverse=reverse)[1], rtol=0, atol=1e-12)


def test_reverse_is_a_flipped_run_over_the_times_of_the_way_back():
    params, xs, carry = problem()
    back = np.flip(np.concatenate([xs[..., :-1], np.diff(TIMES, axis=0, append=TIMES[-1:])[..., None]], -1), 0)
    _, (_, ys) = unrolled(True)(params, xs, carry, EVERY, NEVER)[0]
    np.testing.assert_allclose(np.flip(ys, 0), jaxrnn.unroll(CELL, params, back, carry)[1], rtol=0, atol=1e-12)


def test_chunks_and_single_steps_equal_the_whole():
    """The first step of a chunk is given the time since the last one of the chunk before."""
    params, xs, carry = problem()
    (_, (_, whole)), _ = unrolled(False)(params, xs, carry, MASK, NEVER)
    cut = 4  # row 0 is cut at the end of a hole, row 1 before one
    late = xs[cut:].copy()
    for b, (before, after) in enumerate([(1, 4), (3, 5), (3, 4)]):
        late[after - cut, b, -1] = TIMES[after, b] - TIMES[before, b]
    middle, early_ys = jaxrnn.unroll(CELL, params, xs[:cut], carry, mask=MASK[:cut])
    _, late_ys = jaxrnn.unroll(CELL, params, late, middle, mask=MASK[cut:])
    np.testing.assert_allclose(np.concatenate([early_ys, late_ys]), whole, rtol=0, atol=1e-12)
    _, ys = jaxrnn.unroll(CELL, params, xs, carry)
    for x, expected in zip(xs, ys, strict=True):
        carry, y = jaxrnn.step(CELL, params, carry, x)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.every
@both_directions
def test_composed(reverse):
    """Rows by `vmap`, segments that are computed again, and no steps at all."""
    args = (*problem(), MASK, RESETS)
    expected = unrolled(reverse)(*args)
    again = unrolled(reverse, remat=3)(*args)
    assert_close(again, expected, 1e-11)
    alone = jax.vmap(unrolled(reverse), in_axes=(None, 1, 0, 1, 1), out_axes=0)(*args)
    np.testing.assert_allclose(np.moveaxis(alone[0][1][1], 0, 1), expected[0][1][1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.moveaxis(alone[1][1], 0, 1), expected[1][1], rtol=0, atol=1e-12)
    params, xs, carry = problem()
    for mask in (None, MASK[:0]):
        after, ys = jaxrnn.unroll(CELL, params, xs[:0], carry, mask=mask, reverse=reverse)
        assert ys.shape == (0, B, H)
        np.testing.assert_array_equal(after.h, carry.h)


TRANSFORMED = {
    "zoneout": lambda: jaxrnn.zoneout(CELL, 0.0),
    "learned_carry": lambda: jaxrnn.learned_carry(CELL),
    "weight_dropout": lambda: jaxrnn.weight_dropout(CELL, 0.1),
    "with_carry": lambda: jaxrnn.with_carry(CELL),
    "weight_norm": lambda: jaxrnn.weight_norm(CELL),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_a_transformed_cell_is_given_the_same_times(name):
    cell = TRANSFORMED[name]()
    params, xs, carry = problem()
    if name == "weight_norm":  # whose columns have the lengths that they had
        params = params | {f"{k}_scale": np.linalg.norm(params[k], axis=0) for k in ("kernel", "recurrent_kernel")}
    if name == "learned_carry":
        params = params | {"initial_h": np.zeros(H)}
    expected = looped(params, xs, carry, MASK, RESETS, reverse=True)[1]
    ys = jaxrnn.unroll(cell, params, xs, carry, mask=MASK, resets=RESETS, reverse=True)[1]
    np.testing.assert_allclose(jax.tree.leaves(ys)[0], expected, rtol=0, atol=1e-12)


def around(cell):
    return {
        "cell": cell,
        "rnn": jaxrnn.rnn(cell),
        "stack": jaxrnn.stack(jaxrnn.rnn(cell)),
        "stacks": jaxrnn.stack(jaxrnn.stack(jaxrnn.rnn(cell))),
    }


@pytest.mark.parametrize("name", around(CELL))
def test_the_backward_direction_of_a_layer_has_the_times_of_its_way(name):
    """Where a cell runs in reverse, and where a layer is flipped."""
    own, xs, _ = problem()
    layer = jaxrnn.bidirectional(around(CELL)[name], merge="concat")
    params = jax.tree.unflatten(
        jax.tree.structure(shapes_of(layer, D)),
        2 * jax.tree.leaves(own),
    )
    _, ys = jaxrnn.unroll(layer, params, xs, mask=MASK, resets=RESETS)
    rest = jaxrnn.HiddenCarry(np.zeros((B, H)))
    expected = [looped(own, xs, rest, MASK, RESETS, reverse=reverse)[1] for reverse in (False, True)]
    np.testing.assert_allclose(ys, np.concatenate(expected, -1), rtol=0, atol=1e-12)


def test_the_layer_of_flax_has_them_too():
    own, xs, _ = problem()
    rest = jaxrnn.HiddenCarry(np.zeros((B, H)))
    expected = looped(own, xs, rest, MASK, NEVER, reverse=True)[1]
    module = jaxrnn.linen.RNN(jaxrnn.rnn(CELL), reverse=True, keep_order=True, time_major=True)
    np.testing.assert_allclose(module.apply({"params": own}, xs, mask=MASK), expected, rtol=0, atol=1e-12)


@both_directions
def test_any_cell_may_have_times_under_every_method(reverse):
    """A memory that fades by `exp(−Δ)`, in the linear engine: a cell says no more than that it has times."""

    def init(key, in_features):
        return {"kernel": jax.random.normal(key, (in_features - 1, H))}

    def gates(params, xs):
        b = xs[..., :-1] @ params["kernel"]
        return jnp.broadcast_to(jnp.exp(-xs[..., -1:]), b.shape), b

    cell = jaxrnn.linear_cell(gates, init, H)._replace(timed=True)
    _, xs, _ = problem()
    params = cell.init(jax.random.key(0), D)
    zs, number = xs[..., :-1] @ np.asarray(params["kernel"]), np.cumsum(RESETS, 0)
    t, s = np.arange(T)[:, None, None], np.arange(T)[None, :, None]
    sees = MASK[None] & MASK[:, None] & (number[None] == number[:, None]) & ((s >= t) if reverse else (s <= t))
    weights = np.where(sees, np.exp(-abs(TIMES[:, None] - TIMES[None])), 0)
    for method in jaxrnn.methods(cell):
        ys = jaxrnn.unroll(cell, params, xs, mask=MASK, resets=RESETS, reverse=reverse, method=method)[1]
        np.testing.assert_allclose(ys, np.einsum("tsb,sbh->tbh", weights, zs), rtol=0, atol=1e-12)


def test_long_sums_keep_their_digits():
    """A thousand short gaps within a hole, after ten thousand units of time, in single precision."""
    from jaxrnn.recurrence.elapsed import with_elapsed

    gaps = np.full((1101, 1), 1e-3, np.float32)
    gaps[:50] = 200.0
    valid = np.ones(1101, bool)
    valid[100:1100] = False
    for reverse, at in ((False, 1100), (True, 99)):
        times = with_elapsed(jnp.asarray(gaps), jnp.asarray(valid), None, reverse=reverse)
        assert times.dtype == jnp.float32
        np.testing.assert_allclose(times[at, 0], 1.001, rtol=1e-5)
