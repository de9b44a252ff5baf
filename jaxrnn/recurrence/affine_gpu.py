"""The linear scan as kernels for NVIDIA GPUs, in Triton: a thread for each column, which loops over time.

Where there are fewer columns than threads that the memory needs, time is cut into chunks, which run side by side in two
levels: a first kernel makes one step of each chunk, a scan over these few steps gives the state before each chunk, and
a second kernel runs the chunks. The inputs are read twice then. A thread has the inputs of `UNROLL` steps, 8 bytes
each, under way, so the memory of an H100, 3.35 TB/s, needs about `COLUMNS` threads if a read takes 0.8 µs, which is an
assumption. With N columns one pass moves 3 numbers a step at N / `COLUMNS` of its rate, and two levels move 5 at the
whole rate: one pass is faster from 3/5 on.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxrnn.recurrence.affine import WAYS, Steps
from jaxrnn.recurrence.affine_kernel import Operands, Parts, advance, as_parts, as_whole, times
from jaxrnn.types import Array

COLUMNS = 42_000
BLOCK = 128  # columns of a program
UNROLL = 8  # steps whose inputs are read together
SHORT = 32  # steps of a chunk, at least, so that the chunks are few beside the steps


def run(operands: Operands, *, reverse: bool, late: bool) -> Parts:
    total, rows, columns = operands.b[0].shape
    length = steps_of_a_chunk(total, rows * columns)
    starts = tuple(h0[None] for h0 in operands.h0)
    if length < total:
        starts = _starts(operands, length, reverse=reverse, late=late)

    def kernel(given: Operands, starts: Parts, out: Parts) -> None:
        here = _here(out[0].shape)

        def step(t: Array, inside: Array, h: Parts, *inputs: Any) -> Parts:
            h, y = advance(h, *inputs, late=late)
            _store(out, t, here._replace(inside=inside), y)
            return h

        _over_time(given, _load(starts, pl.program_id(1), here), step, here, length=length, reverse=reverse)

    made = tuple(jax.ShapeDtypeStruct((total, rows, columns), h0.dtype) for h0 in operands.h0)
    (h,) = _call(kernel, (made,), length, operands, starts, name="linear_scan")
    return h


def steps_of_a_chunk(total: int, columns: int) -> int:
    """Returns a multiple of `UNROLL`; at least `total` where one pass is faster."""
    few = columns < 3 / 5 * COLUMNS
    length = min(total, max(SHORT, total * columns // COLUMNS)) if few else total
    return -(-length // UNROLL) * UNROLL


def _starts(operands: Operands, length: int, *, reverse: bool, late: bool) -> Parts:
    """Returns the states before each chunk, parts `[chunks, rows, columns]`."""

    def kernel(given: Operands, a: Parts, b: Parts) -> None:
        here = _here(given.b[0].shape)

        def step(_t: Array, _inside: Array, both: tuple[Parts, Parts], *inputs: Any) -> tuple[Parts, Parts]:
            h, _ = advance(both[1], *inputs, late=late)
            return times(inputs[0], both[0], inputs[2]), h

        zero = tuple(jnp.zeros(BLOCK, h0.dtype) for h0 in given.h0)
        one = (jnp.ones_like(zero[0]), *zero[1:])
        both = _over_time(given, (one, zero), step, here, length=length, reverse=reverse)
        for out, parts in zip((a, b), both, strict=True):
            _store(out, pl.program_id(1), here, parts)

    total, rows, columns = operands.b[0].shape
    count = -(-total // length)
    ends = tuple(jax.ShapeDtypeStruct((count, rows, columns), h0.dtype) for h0 in operands.h0)
    a, b = _call(kernel, (ends, ends), length, operands, name="linear_scan_chunks")
    resets = operands.resets
    if resets is not None:  # a product of 0 does not hold back NaN
        padded = jnp.pad(resets, [(0, count * length - total), (0, 0), (0, 0)])
        resets = padded.reshape(count, length, *resets.shape[1:]).any(1)
    h0 = as_whole(operands.h0)
    after = WAYS["associative"](Steps(as_whole(a), as_whole(b), resets), h0, reverse=reverse, late=False)
    before = [after[1:], h0[None]] if reverse else [h0[None], after[:-1]]
    return as_parts(jnp.concatenate(before))


class Here(NamedTuple):
    """The column of each thread of a program, and whether it has one."""

    row: Array
    column: Array
    inside: Array


def _here(shape: tuple[int, ...]) -> Here:
    _, rows, columns = shape
    n = pl.program_id(0) * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32)
    return Here(lax.div(n, jnp.full_like(n, columns)), lax.rem(n, jnp.full_like(n, columns)), n < rows * columns)


def _load(tree: Any, t: Any, here: Here) -> Any:
    """Reads each array of a tree at step `t`; one with an axis of length 1 has its only entry there for all."""

    def one(x: Any) -> Array:
        sized = zip((t, here.row, here.column), x.shape, strict=True)
        index = tuple(n if size > 1 else jnp.zeros_like(n) for n, size in sized)
        return plgpu.load(x.at[index], mask=here.inside, other=0)

    return jax.tree.map(one, tree)


def _store(refs: Parts, t: Any, here: Here, values: Parts) -> None:
    for ref, value in zip(refs, values, strict=True):
        plgpu.store(ref.at[t, here.row, here.column], value, mask=here.inside)


def _over_time(given: Operands, state: Any, step: Callable[..., Any], here: Here, *, length: int, reverse: bool) -> Any:
    """Loops `step(t, inside, state, a, b, resets) -> state` through this program's chunk of steps."""
    inputs = (given.a, given.b, given.resets)
    fixed = _load(given.a, jnp.int32(0), here) if given.a[0].shape[0] == 1 else None
    total, first = given.b[0].shape[0], pl.program_id(1) * length

    def several(i: Array, state: Any) -> Any:
        offsets = [i * UNROLL + j for j in range(UNROLL)]
        ts = [first + (length - 1 - n if reverse else n) for n in offsets]
        places = [here._replace(inside=here.inside & (t < total)) for t in ts]
        read = [_load(inputs[1:] if fixed else inputs, t, place) for t, place in zip(ts, places, strict=True)]
        for t, place, values in zip(ts, places, read, strict=True):
            after = step(t, place.inside, state, *((fixed, *values) if fixed else values))
            state = jax.tree.map(partial(jnp.where, place.inside), after, state)
        return state

    return lax.fori_loop(0, length // UNROLL, several, state)


def _call(kernel: Callable[..., None], made: Any, length: int, operands: Operands, *more: Any, name: str) -> Any:
    total, rows, columns = operands.b[0].shape
    return pl.pallas_call(
        kernel,
        grid=(-(-rows * columns // BLOCK), -(-total // length)),
        out_shape=made,
        compiler_params=plgpu.CompilerParams(num_warps=BLOCK // 32),
        name=name,
    )(operands, *more)
