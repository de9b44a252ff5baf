"""What holds for every cell under every method; all of it looks at the same few compiled programs of each."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close
from laws.cells import FLOWS, B, T, inputs, make, space_of, spread, steps
from laws.reference import (
    ROWS,
    cast,
    compiled,
    definition_of_few_steps,
    entry,
    floating,
    repeated_cotangent,
    row,
    stacked,
    unrolled,
    with_gradients,
)
from laws.table import law
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

NEVER = np.zeros((T, B), bool)


@law
def test_equals_the_definition(name, method, reverse):
    """Values and every gradient, of packed rows with holes."""
    actual = compiled(name, method, reverse=reverse)(*inputs(name), *FLOWS["packed_holes"])
    assert_close(actual, by_definition(name, reverse=reverse))


@law
def test_the_plain_loop_equals_the_definition(name, method):
    """That of cells which have a faster method."""
    actual = compiled(name, method)(*inputs(name), *FLOWS["packed_holes"])
    assert_close(actual, by_definition(name, reverse=False))


@cache
def by_definition(name, *, reverse):
    return definition_of_few_steps(name, inputs(name), FLOWS["packed_holes"], reverse=reverse)


@law
def test_invalid_steps_are_silent_and_hold_the_carry(name, method, reverse):
    params, xs, carry = inputs(name)
    mask = steps("00000", "01100")
    actual = compiled(name, method, reverse=reverse)(params, xs, carry, mask, NEVER)
    assert (actual["ys"][~mask] == 0).all()
    assert (actual["d_xs"][~mask] == 0).all()
    jax.tree.map(lambda after, before: np.testing.assert_array_equal(after[0], before[0]), actual["carry"], carry)


@law
def test_what_stands_in_padding_reaches_nothing(name, method, reverse):
    params, xs, carry = inputs(name)
    mask, resets = FLOWS["packed_holes"]
    run = compiled(name, method, reverse=reverse)
    expected = run(params, xs, carry, mask, resets)
    for bad in (np.nan, np.inf):
        actual = run(params, np.where(spread(mask, xs), xs, bad), carry, mask, resets)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)


@law
def test_nothing_of_the_carry_survives_a_reset(name, method):
    params, xs, carry = inputs(name)
    mask, resets = steps("01111", "11111"), steps("10000", "10010")
    run = compiled(name, method)
    expected = run(params, xs, carry, mask, resets)
    for bad in (np.nan, np.inf):
        actual = run(params, xs, jax.tree.map(partial(filled, bad), carry), mask, resets)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(actual["d_carry"]))


def filled(bad, leaf):
    return np.full_like(leaf, bad if np.issubdtype(leaf.dtype, np.inexact) else 9)


@law
def test_nothing_of_another_sequence_crosses_a_reset(name, method, reverse):
    """A NaN within the sequence that runs first."""
    params, xs, carry = inputs(name)
    resets = steps("00100", "00100")
    first, second = (slice(2, T), slice(0, 2)) if reverse else (slice(0, 2), slice(2, T))
    run = compiled(name, method, reverse=reverse)
    expected = run(params, xs, carry, ~NEVER, resets)
    xs[first] = np.nan
    actual = run(params, xs, carry, ~NEVER, resets)
    assert np.isnan(actual["ys"][first]).any()
    for key in ("ys", "d_xs"):
        assert_close(actual[key][second], expected[key][second])
    assert_close(actual["carry"], expected["carry"])


@law
def test_a_carry_goes_on_where_it_ended(name, method, reverse):
    """Two chunks, each the whole with the other's steps masked; no time passes where inputs carry times, for neither of
    the two knows how much of it lies between them.
    """
    params, xs, carry = inputs(name)
    if make(name).timed:
        xs[..., -1] = 0
    run = compiled(name, method, reverse=reverse)
    mask, (before, after) = FLOWS["holes"][0], (np.arange(T)[:, None] < 3, np.arange(T)[:, None] >= 3)
    whole = run(params, xs, carry, mask, NEVER)
    first = run(params, xs, carry, mask & (after if reverse else before), NEVER)
    second = run(params, xs, first["carry"], mask & (before if reverse else after), NEVER)
    assert_close((second["carry"], first["ys"] + second["ys"]), (whole["carry"], whole["ys"]))


@law
def test_a_carry_times_0_begins_anew_and_times_1_goes_on(name, method):
    """As agents multiply it by `1 - done`, before the first step or later; `odd` learns its start, which is not 0."""
    params, xs, _ = inputs(name)
    run, flow = compiled(name, method), FLOWS["packed_holes"]

    def of_the_second_row(carry):  # the first one is done
        return jax.tree.map(
            lambda leaf: np.asarray(leaf) * np.arange(2, dtype=leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1)), carry
        )

    first = make(name).init_carry(params, (B, *space_of(name)))
    started = run(params, xs, first, *flow)
    goes_on = run(params, xs, started["carry"], *flow)
    outcomes = [run(params, xs, of_the_second_row(carry), *flow) for carry in (first, started["carry"])]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((first, started, outcomes)))
    for actual, expected in zip(outcomes, (started, goes_on), strict=True):
        for key in ("ys", "d_xs"):
            assert_close(actual[key][:, 1], expected[key][:, 1])
            if name != "odd":
                assert_close(actual[key][:, 0], started[key][:, 0])


@law
def test_streaming_equals_unrolling(name, method):
    params, xs, carry = inputs(name)
    expected = compiled(name, method)(params, xs, carry, *FLOWS["plain"])
    ys = []
    for x in xs:
        carry, y = jaxrnn.step(make(name), params, carry, x)
        ys.append(y)
    assert_close((carry, np.stack(ys)), (expected["carry"], expected["ys"]))


@law
def test_one_more_batch_axis(name, method):
    """By the method that is chosen where none is named."""
    params, xs, carry = inputs(name)
    expected = compiled(name, method)(params, xs, carry, *FLOWS["plain"])
    after, ys = jaxrnn.unroll(make(name), params, xs[:, :, None], entry(carry, (slice(None), None)))
    actual = entry(after, (slice(None), 0)), np.asarray(ys)[:, :, 0]
    assert_close(actual, (expected["carry"], expected["ys"]))


@law
def test_projection_is_the_same_for_one_step_and_for_many(name):
    params, xs, _ = inputs(name)
    project = jit(make(name).project)
    assert_close(entry(project(params, xs), T - 1), project(params, xs[T - 1]))


@law
def test_no_steps_and_no_rows(name):
    """Shapes tell all that there is to tell."""

    def loss(*args):
        after, ys = jaxrnn.unroll(make(name), *args)
        return ys.sum(), (after, ys)

    outputs = jax.eval_shape(loss, *inputs(name))[1][1].shape[2:]
    for time, batch in ((0, (B,)), (T, (0,))):
        params, xs, carry = inputs(name, time=time, batch=batch)
        gradients, (after, ys) = jax.eval_shape(jax.grad(loss, has_aux=True), params, xs, carry)
        assert ys.shape == (time, *batch, *outputs)
        assert jax.tree.map(jnp.shape, (after, gradients)) == jax.tree.map(jnp.shape, (carry, params))


@law
def test_vmap_of_gradient_is_each_example_alone(name, method):
    """Mapped inputs within mapped parameters: each member sees each row, in which states go from step to step."""
    args = (*inputs(name), steps("01111", "10110"), steps("00100", "00010"))
    members = [inputs(name, seed=seed)[0] for seed in range(2)]
    rows = jax.vmap(with_gradients(unrolled(name, method)), in_axes=ROWS["in_axes"])
    actual = jit(jax.vmap(rows, in_axes=(0, None, None, None, None)))(stacked(members), *args[1:])
    b = B - 1
    *alone, mask, resets = row((members[1], *args[1:]), b)
    assert_close(entry(actual, (1, b)), definition_of_few_steps(name, alone, (mask, resets)))


@law
def test_gradient_of_vmap_is_the_sum_over_examples(name, method):
    """Of mapped inputs within mapped parameters, as many as there are steps: none takes the place of another axis."""
    members = [inputs(name, seed=seed)[0] for seed in range(T)]
    rest = (*inputs(name)[1:], *FLOWS["packed_holes"])
    rows = jax.vmap(jax.jit(unrolled(name, method)), **ROWS)
    actual = jit(with_gradients(jax.vmap(rows, in_axes=(0, None, None, None, None)), repeated_cotangent))(
        stacked(members), *rest
    )
    alone = [compiled(name, "scan")(member, *rest) for member in members]
    expected = stacked(alone)
    for shared in ("d_xs", "d_carry"):
        expected[shared] = jax.tree.map(lambda leaf: leaf.sum(0), expected[shared])
    assert_close(actual, expected)


@law
def test_half_precision_is_that_of_the_products_alone(name, method):
    params, xs, carry = cast(inputs(name), jnp.bfloat16)  # the same rounded numbers for both
    actual = compiled(name, method)(params, xs, cast(carry, jnp.float32), *FLOWS["holes"])
    expected = compiled(name, method)(*cast((params, xs, carry), jnp.float64), *FLOWS["holes"])
    assert_close(cast(actual, jnp.float64), expected, 0.05)
    assert actual["ys"].dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(floating(actual["carry"])):  # had it been in half precision: its own rounding
        if (leaf == leaf.astype(jnp.bfloat16)).all() and not (leaf == 1).all():  # a flag: there was a step
            itself = (xs, *jax.tree.leaves(make(name).project(params, xs)))  # an input, or its product, for later steps
            assert any(np.isin(leaf, np.float32(given)).all() for given in itself)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(floating(actual["carry"])))
