"""Lengths, directions, chunks and sequences: other words for the same steps."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close
from laws.cells import FLOWS, B, T, every_direction, inputs, make
from laws.reference import compiled, unrolled, with_gradients
from laws.table import law
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

NEVER = np.zeros((T, B), bool)


@law
def test_lengths_are_a_mask_from_the_left(name):
    args = inputs(name)
    run = jit(lambda *args: jaxrnn.unroll(make(name), *args[:3], lengths=args[3]))
    for lengths in ([5, 3], [0, 1], [9, 4]):  # a length beyond T counts as T
        mask = np.arange(T)[:, None] < np.array(lengths)
        expected = compiled(name, "scan")(*args, mask, NEVER)
        assert_close(run(*args, np.array(lengths)), (expected["carry"], expected["ys"]))


@law
def test_reverse_is_flip_unroll_flip(name, method):
    params, xs, carry = inputs(name)
    mask, resets = FLOWS["packed_holes"]
    entered = np.concatenate([NEVER[:1], np.flip(resets, 0)[:-1]])  # from behind, a sequence begins at its last step
    actual = compiled(name, method, reverse=True)(params, xs, carry, mask, resets)
    expected = compiled(name, method)(params, np.flip(xs, 0), carry, np.flip(mask, 0), entered)
    assert_close((actual["carry"], actual["ys"]), (expected["carry"], np.flip(expected["ys"], 0)))


@law
def test_chunks_equal_the_whole(name, method):
    def chunked(params, xs, carry, mask, resets):
        run = unrolled(name, method)
        carry, early = run(params, xs[:2], carry, mask[:2], resets[:2])
        carry, late = run(params, xs[2:], carry, mask[2:], resets[2:])
        return carry, jnp.concatenate([early, late])

    args = (*inputs(name), *FLOWS["packed_holes"])
    assert_close(jit(with_gradients(chunked))(*args), compiled(name, method)(*args))


@every_direction
@law
def test_a_packed_row_equals_its_sequences(name, method, reverse):
    """The same law as in `test_every_cell.py`, in the words of a user."""
    params, xs, _ = inputs(name, batch=())

    def run(xs, **options):
        return jaxrnn.unroll(make(name), params, xs, method=method, reverse=reverse, **options)

    (first, first_ys), (second, second_ys) = run(xs[:3]), run(xs[3:])
    carry, ys = run(xs, resets=np.array([True, False, False, True, False]))
    assert_close((carry, ys), (first if reverse else second, jnp.concatenate([first_ys, second_ys])))
