"""Looping `step` by hand equals every method: values and all gradients, for every shape of the inputs."""

from functools import cache

import jax
import numpy as np
import pytest

import jaxrnn
from compare import assert_close
from laws.cells import FLOWS, every_direction, every_flow, inputs, make
from laws.reference import compiled, definition, unrolled, with_gradients
from laws.table import law
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


@pytest.mark.sampled
@every_flow
@every_direction
@law
def test_equals_the_definition(name, method, reverse, flow):
    actual = compiled(name, method, reverse=reverse)(*inputs(name), *FLOWS[flow])
    assert_close(actual, by_definition(name, flow, reverse=reverse))


@cache
def by_definition(name, flow, *, reverse):
    return with_gradients(definition(name, reverse=reverse))(*inputs(name), *FLOWS[flow])


@pytest.mark.sampled
@pytest.mark.parametrize(("time", "batch"), [(0, (2,)), (1, ()), (3, (2, 3))])
@law
def test_any_number_of_steps_and_batch_axes(name, method, time, batch):
    args = inputs(name, time=time, batch=batch)
    draw = np.random.default_rng(1)
    mask, resets = draw.random((time, *batch)) < 0.7, draw.random((time, *batch)) < 0.3
    assert_close(compiled(name, method)(*args, mask, resets), with_gradients(definition(name))(*args, mask, resets))


@law
def test_no_steps_return_the_carry(name, method):
    params, xs, carry = inputs(name, time=0)
    none = np.zeros(xs.shape[:-1], bool)
    actual = compiled(name, method)(params, xs, carry, none, none)
    assert_close(actual["carry"], carry, 0)
    assert actual["ys"].shape[:2] == (0, 2)


@law
def test_the_carry_and_every_flag_may_be_left_out(name, method):
    """Without a carry the cell's own is the first one, learned where the cell learns it."""

    def from_rest(params, xs, carry, *flow):
        del carry
        return definition(name)(params, xs, make(name).init_carry(params, xs.shape[1:-1]), *flow)

    params, xs, _ = inputs(name)
    actual = jit(with_gradients(unrolled(name, method)))(params, xs, None)
    assert_close(actual, with_gradients(from_rest)(params, xs, None, *FLOWS["plain"]))


@law
def test_auto_is_one_of_the_methods(name):
    params, xs, carry = inputs(name)
    actual = jaxrnn.unroll(make(name), params, xs, carry)
    expected = compiled(name, "scan")(params, xs, carry, *FLOWS["plain"])
    assert_close(actual, (expected["carry"], expected["ys"]))


@law
def test_eager_equals_compiled(name, method):
    args = (*inputs(name), *FLOWS["packed_holes"])
    assert_close(with_gradients(unrolled(name, method))(*args), compiled(name, method)(*args))


@law
def test_runs_without_jit(name, method):
    args = (*inputs(name, time=2), *(flags[:2] for flags in FLOWS["packed_holes"]))
    with jax.disable_jit():
        actual = with_gradients(unrolled(name, method))(*args)
    assert_close(actual, with_gradients(definition(name))(*args))


@pytest.mark.parametrize("remat", [None, "carries", 2])
@law
def test_an_empty_batch_has_empty_results(name, method, remat):
    args = inputs(name, batch=(0,))
    none = np.zeros((5, 0), bool)
    out = jit(with_gradients(unrolled(name, method, remat=remat))).lower(*args, none, none).out_info
    assert out["ys"].shape[:2] == (5, 0)
    for key, arg in zip(("d_params", "d_xs", "d_carry"), args, strict=True):
        assert jax.tree.map(lambda leaf: leaf.shape, out[key]) == jax.tree.map(lambda leaf: leaf.shape, arg)


@law
def test_written_out_steps_equal_the_loop(name, method):
    args = (*inputs(name), *FLOWS["packed_holes"])
    assert_close(compiled(name, method, unroll=2)(*args), compiled(name, method)(*args))


@law
def test_remat_of_steps_changes_nothing(name, method):
    args = (*inputs(name), *FLOWS["packed_holes"])
    assert_close(compiled(name, method, remat="carries")(*args), compiled(name, method)(*args))


@pytest.mark.parametrize(("remat", "reverse"), [("step", True), (2, True), (3, False)])
@law
def test_remat_of_segments_changes_nothing(name, method, remat, reverse):
    """Segments are cut before any cell is looked at: one cell a method stands for all."""
    args = (*inputs(name), *FLOWS["packed_holes"])
    actual = compiled(name, method, remat=remat, reverse=reverse)(*args)
    assert_close(actual, compiled(name, method, reverse=reverse)(*args))
