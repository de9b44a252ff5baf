"""Lengths, masks, resets, chunks and streaming: what reaches a row, and in which order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from laws.cells import FLOWS, B, T, every_cell, every_method, every_way, inputs, make, steps
from laws.reference import assert_close, compiled, entry, outcome, unrolled

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

every_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
NEVER = np.zeros((T, B), bool)


@every_cell
def test_lengths_are_a_mask_from_the_left(name):
    args = inputs(name)
    run = jax.jit(lambda *args: jaxrnn.unroll(make(name), *args[:3], lengths=args[3]))
    for lengths in ([5, 3], [0, 1], [9, 4]):  # a length beyond T counts as T
        mask = np.arange(T)[:, None] < np.array(lengths)
        expected = compiled(name, "scan")(*args, mask, NEVER)
        assert_close(run(*args, np.array(lengths)), (expected["carry"], expected["ys"]))


@every_direction
@every_method
def test_invalid_steps_are_silent_and_hold_the_carry(name, method, reverse):
    params, xs, carry = inputs(name)
    mask = steps("00000", "01100")
    actual = compiled(name, method, reverse=reverse)(params, xs, carry, mask, NEVER)
    assert (actual["ys"][~mask] == 0).all()
    assert (actual["d_xs"][~mask] == 0).all()
    jax.tree.map(lambda after, before: np.testing.assert_array_equal(after[0], before[0]), actual["carry"], carry)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@every_direction
@every_method
def test_what_stands_in_padding_reaches_nothing(name, method, reverse, bad):
    params, xs, carry = inputs(name)
    mask, resets = FLOWS["packed_holes"]
    run = compiled(name, method, reverse=reverse)
    expected = run(params, xs, carry, mask, resets)
    actual = run(params, jnp.where(mask[..., None], xs, bad), carry, mask, resets)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@every_method
def test_nothing_of_the_carry_survives_a_reset(name, method, bad):
    params, xs, carry = inputs(name)
    mask, resets = steps("01111", "11111"), steps("10000", "10010")
    run = compiled(name, method)
    expected = run(params, xs, carry, mask, resets)
    actual = run(params, xs, jax.tree.map(lambda leaf: jnp.full_like(leaf, bad), carry), mask, resets)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(actual["d_carry"]))


@every_direction
@every_method
def test_nothing_of_another_sequence_crosses_a_reset(name, method, reverse):
    """A NaN within the sequence that runs first."""
    params, xs, carry = inputs(name)
    resets = steps("00100", "00100")
    first, second = (slice(2, T), slice(0, 2)) if reverse else (slice(0, 2), slice(2, T))
    run = compiled(name, method, reverse=reverse)
    expected = run(params, xs, carry, ~NEVER, resets)
    actual = run(params, xs.at[first].set(np.nan), carry, ~NEVER, resets)
    assert np.isnan(actual["ys"][first]).any()
    for key in ("ys", "d_xs"):
        assert_close(actual[key][second], expected[key][second])
    assert_close(actual["carry"], expected["carry"])


@every_method
def test_reverse_is_flip_unroll_flip(name, method):
    params, xs, carry = inputs(name)
    mask, resets = FLOWS["packed_holes"]
    entered = np.concatenate([NEVER[:1], np.flip(resets, 0)[:-1]])  # from behind, a sequence begins at its last step
    actual = compiled(name, method, reverse=True)(params, xs, carry, mask, resets)
    expected = compiled(name, method)(params, jnp.flip(xs, 0), carry, np.flip(mask, 0), entered)
    assert_close((actual["carry"], actual["ys"]), (expected["carry"], jnp.flip(expected["ys"], 0)))


@every_way
def test_chunks_equal_the_whole(name, method):
    def chunked(params, xs, carry, mask, resets):
        run = unrolled(name, method)
        carry, early = run(params, xs[:2], carry, mask[:2], resets[:2])
        carry, late = run(params, xs[2:], carry, mask[2:], resets[2:])
        return carry, jnp.concatenate([early, late])

    args = (*inputs(name), *FLOWS["packed_holes"])
    assert_close(jax.jit(outcome(chunked))(*args), compiled(name, method)(*args))


@every_method
def test_chunks_from_behind_equal_the_whole(name, method):
    params, xs, carry = inputs(name)
    run = compiled(name, method, reverse=True)
    whole = run(params, xs, carry, FLOWS["holes"][0], NEVER)
    late = run(params, xs, carry, FLOWS["holes"][0] & (np.arange(T) >= 3)[:, None], NEVER)
    early = run(params, xs, late["carry"], FLOWS["holes"][0] & (np.arange(T) < 3)[:, None], NEVER)
    assert_close((early["carry"], early["ys"] + late["ys"]), (whole["carry"], whole["ys"]))


@every_cell
def test_streaming_equals_unrolling(name):
    params, xs, carry = inputs(name)
    expected = compiled(name, "scan")(params, xs, carry, *FLOWS["plain"])
    ys = []
    for x in xs:
        carry, y = jaxrnn.step(make(name), params, carry, x)
        ys.append(y)
    assert_close((carry, jnp.stack(ys)), (expected["carry"], expected["ys"]))


@every_cell
def test_projection_is_the_same_for_one_step_and_for_many(name):
    params, xs, _ = inputs(name)
    cell = make(name)
    zs = cell.project(params, xs)
    for t in range(T):
        assert_close(entry(zs, t), cell.project(params, xs[t]))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("method", jaxrnn.methods(make("lstm")))
def test_a_packed_row_equals_its_sequences(method, reverse):
    """The same law as in `test_values.py`, in the words of a user."""
    params, xs, _ = inputs("lstm", batch=())

    def run(xs, **options):
        return jaxrnn.unroll(make("lstm"), params, xs, method=method, reverse=reverse, **options)

    (first, first_ys), (second, second_ys) = run(xs[:3]), run(xs[3:])
    carry, ys = run(xs, resets=np.array([True, False, False, True, False]))
    assert_close((carry, ys), (first if reverse else second, jnp.concatenate([first_ys, second_ys])))
