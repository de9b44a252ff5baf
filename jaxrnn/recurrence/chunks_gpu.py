"""Loops over chunks of time in one kernel for NVIDIA GPUs, in Triton: a program for each head, its state on the chip.

Arrays of a program have powers of two as their sizes, of 16 at least: the rest is 0 and is not written.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxrnn.recurrence.chunk_layout import Body, Parts, made_by
from jaxrnn.recurrence.padding import width

WIDEST = 128  # the rows and columns of a state, which a program holds in registers
WARPS = 8


def scan(
    body: Body, fixed: Any, carry: Any, given: Parts, *, total: int, size: int, reverse: bool, name: str
) -> tuple[Any, Parts]:
    """Is a `chunk_layout.Scan`.

    Raises:
      ValueError: a state has more rows or columns than a program holds; or one row, by which `_load` tells the numbers
        of a chunk's steps.
    """
    heads, count = jax.tree.leaves(carry)[0].shape[0], -(-total // size)
    rows, columns = jax.tree.leaves(carry)[0].shape[1:]
    if rows == 1 or max(rows, columns) > WIDEST:
        raise ValueError(
            f"matrix_scan: method='kernel' on cuda holds states of 2 to {WIDEST} rows and at most {WIDEST} columns, "
            f"found {rows} and {columns}; method='auto' runs everywhere"
        )
    made = made_by(body, fixed, carry, given, total, size)

    def kernel(fixed: Any, first: Any, given: Parts, last: Any, made: Parts) -> None:
        n = pl.program_id(0)
        fixed, first = jax.tree.map(partial(_load, (n,)), (fixed, first))

        def one(i: Any, state: Any) -> Any:
            t = count - 1 - i if reverse else i
            steps = jax.tree.map(partial(_load_steps, n, t * size, size), given.steps)
            chunks = jax.tree.map(partial(_load, (n, t)), given.chunks)
            state, out = body(fixed, state, Parts(steps, chunks))
            jax.tree.map(partial(_store_steps, n, t * size), made.steps, out.steps)
            jax.tree.map(partial(_store, (n, t)), made.chunks, out.chunks)
            return state

        jax.tree.map(partial(_store, (n,)), last, lax.fori_loop(0, count, one, first))

    return pl.pallas_call(
        kernel,
        grid=(heads,),
        out_shape=(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), carry), made),
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
        name=name,
    )(fixed, carry, given)


def _grid(rows: int, columns: int) -> tuple[Any, Any]:
    row, column = (lax.broadcasted_iota(jnp.int32, (rows, columns), axis) for axis in (0, 1))
    return row, column


def _load(at: tuple[Any, ...], ref: Any) -> Any:
    """Reads a matrix, or a single row."""
    rows, columns = ref.shape[-2:]
    row, column = _grid(rows if rows == 1 else width(rows), width(columns))
    return plgpu.load(ref.at[*at, row, column], mask=(row < rows) & (column < columns), other=0)


def _store(at: tuple[Any, ...], ref: Any, value: Any) -> None:
    row, column = _grid(*value.shape)
    plgpu.store(ref.at[*at, row, column], value, mask=(row < ref.shape[-2]) & (column < ref.shape[-1]))


def _load_steps(n: Any, first: Any, size: int, ref: Any) -> Any:
    row, column = _grid(size, width(ref.shape[2]))
    mask = (first + row < ref.shape[0]) & (column < ref.shape[2])
    return plgpu.load(ref.at[first + row, n, column], mask=mask, other=0)


def _store_steps(n: Any, first: Any, ref: Any, value: Any) -> None:
    row, column = _grid(*value.shape)
    mask = (first + row < ref.shape[0]) & (column < ref.shape[2])
    plgpu.store(ref.at[first + row, n, column], value, mask=mask)
