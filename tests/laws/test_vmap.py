"""`vmap` over rows, over flags, over parameters and of gradients equals what it stands for."""

import jax
import numpy as np
import pytest

from compare import assert_close
from laws.cells import FLOWS, B, inputs
from laws.reference import ROWS, compiled, definition, entry, row, stacked, unrolled, with_gradients
from laws.table import law
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


@law
def test_gradient_of_vmap_is_a_batch_axis(name, method):
    args = (*inputs(name), *FLOWS["packed_holes"])
    actual = jit(with_gradients(jax.vmap(unrolled(name, method), **ROWS)))(*args)
    assert_close(actual, compiled(name, method)(*args))


@law
def test_nested_vmaps_are_batch_axes(name, method):
    args = inputs(name, time=3, batch=(2, 3))
    draw = np.random.default_rng(1)
    mask, resets = draw.random((3, 2, 3)) < 0.7, draw.random((3, 2, 3)) < 0.3
    expected = compiled(name, method)(*args, mask, resets)
    inner = jax.vmap(unrolled(name, method), **ROWS)
    nested = jax.vmap(inner, in_axes=(None, 2, 1, 2, 2), out_axes=(1, 2))
    assert_close(jit(with_gradients(nested))(*args, mask, resets), expected)


@law
def test_vmap_within_a_batch_is_a_batch_axis(name, method):
    args = inputs(name, time=3, batch=(2, 3))
    draw = np.random.default_rng(1)
    mask, resets = draw.random((3, 2, 3)) < 0.7, draw.random((3, 2, 3)) < 0.3
    expected = compiled(name, method)(*args, mask, resets)
    actual = jit(with_gradients(jax.vmap(unrolled(name, method), **ROWS)))(*args, mask, resets)
    assert_close(actual, expected)


@pytest.mark.parametrize(("mapped", "axis"), [("xs", 2), ("carry", 0), ("mask", 1), ("resets", 0)])
@law
def test_one_mapped_argument_meets_shared_ones(name, method, mapped, axis):
    args = (*inputs(name), *FLOWS["packed_holes"])
    at = ("params", "xs", "carry", "mask", "resets").index(mapped)
    rows = [row(args, b)[at] for b in range(B)]
    shared = list(row(args, 0))
    batch = jax.tree.map(lambda *leaves: np.stack(leaves, axis), *rows)
    in_axes = [None] * len(shared)
    in_axes[at] = axis
    actual = jit(jax.vmap(unrolled(name, method), in_axes=in_axes))(*shared[:at], batch, *shared[at + 1 :])
    for b in range(B):
        expected = definition(name)(*shared[:at], rows[b], *shared[at + 1 :])
        assert_close(entry(actual, b), expected)


@law
def test_ensembles_are_each_member_alone(name, method):
    members = [inputs(name, seed=seed)[0] for seed in (0, 1)]
    params = stacked(members)
    _, xs, carry = inputs(name)
    flow = FLOWS["packed_holes"]
    run = jax.vmap(with_gradients(unrolled(name, method)), in_axes=(0, None, None, None, None))
    actual = jit(run)(params, xs, carry, *flow)
    for m, member in enumerate(members):
        expected = compiled(name, method)(member, xs, carry, *flow)
        assert_close(entry(actual, m), expected)


@law
def test_members_with_data_of_their_own(name, method):
    """Each member has its rows, and shares all parameters but one with the others."""
    members = [inputs(name, seed=seed)[0] for seed in (0, 1)]
    params, xs, carry = inputs(name)
    own = "recurrent_kernel" if "recurrent_kernel" in params else "kernel"
    kernels = np.stack([member[own] for member in members])
    flow = FLOWS["packed_holes"]

    def run(kernel, *args):
        return unrolled(name, method)(params | {own: kernel}, *args)

    actual = jit(jax.vmap(run, in_axes=(0, 1, 0, 1, 1)))(kernels, xs, carry, *flow)
    for b, member in enumerate(members):
        mine = params | {own: member[own]}
        expected = definition(name)(mine, *row((params, xs, carry, *flow), b)[1:])
        assert_close(entry(actual, b), expected)
