"""Loops over time in one GPU kernel: each of its programs has some rows of the batch and keeps their carry on the chip.

It is written for Triton, in which all arrays that a program holds have a power of two as their size, and there are no
slices and no concatenations of such arrays. So an array in memory `[T, B, n, W]` is a list of `n` arrays to a step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import precision
from jaxrnn.types import Array

TILE = 128  # bytes of a weight's column that a product reads at once; with twice as many, float32 compiles for longer

Body = Callable[..., tuple[Any, Any, Any]]


def scan(
    body: Body, shared: Any, by_row: Any, carry: Any, steps: Any, *, block: int, reverse: bool, name: str
) -> tuple[Any, Any, Any]:
    """Runs `body(shared, by_row, carry, step, row) -> (carry, out, sums)` over the leading axis of `steps`.

    Args:
      body: one step of a block of rows; `row` holds their numbers, and `sums` may have any shapes.
      shared: arrays that all programs read; the body gets references, so that it may read a part.
      by_row: arrays `[B, ...]`, of which it gets references to its own rows.
      carry: arrays `[B, ...]`, of which it gets values, `[block, ...]`.
      steps: arrays `[T, B]`, `[T, B, W]` or `[T, B, n, W]`, of which it gets the values of a step.
      block: the rows of a program, which divide B.
      reverse: runs from the last step to the first.
      name: of the kernel, for profilers.

    Returns:
      `(carry, outs, sums)`: the last carry, `[T, B, ...]` of each output, and the sum of `sums` over time and programs.
    """
    from jax.experimental import pallas as pl  # it takes longer to import than all of this package
    from jax.experimental.pallas import triton

    total, rows = jax.tree.leaves(steps)[0].shape[:2]
    programs, numbers = rows // block, jnp.arange(block)
    mine = partial(_cut, block)
    given = (shared, jax.tree.map(partial(mine, 0), by_row), jax.tree.map(partial(mine, 0), carry))
    made = jax.eval_shape(body, *given, jax.tree.map(lambda a: _parts(mine(1, a)), steps), numbers)
    outs = jax.tree.map(partial(_in_memory, total, rows), made[1], is_leaf=_is_list)
    sums = jax.tree.map(lambda s: jax.ShapeDtypeStruct((programs, *s.shape), s.dtype), made[2])

    def kernel(shared: Any, by_row: Any, carry: Any, steps: Any, last: Any, outs: Any, sums: Any) -> None:
        row = pl.program_id(0) * block + lax.iota(jnp.int32, block)

        def one(i: Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
            t = total - 1 - i if reverse else i
            carry, added = state
            carry, out, more = body(shared, by_row, carry, jax.tree.map(partial(_read, t), steps), row)
            for to, value in zip(jax.tree.leaves(outs), jax.tree.leaves(out, is_leaf=_is_list), strict=True):
                _write(t, to, value)
            return carry, jax.tree.map(jnp.add, added, more)

        start = (
            jax.tree.map(lambda ref: ref[...], carry),
            jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), made[2]),
        )
        carry, added = lax.fori_loop(0, total, one, start)
        for to, value in zip(jax.tree.leaves(last), jax.tree.leaves(carry), strict=True):
            to[...] = value
        for to, value in zip(jax.tree.leaves(sums), jax.tree.leaves(added), strict=True):
            to[0] = value

    def cut(axis: int | None, size: int, a: Any) -> Any:
        shape = tuple(size if i == axis else n for i, n in enumerate(a.shape))
        return pl.BlockSpec(shape, lambda b: tuple(b if i == axis else 0 for i in range(len(shape))))

    def specs(size: int, axes: tuple[int | None, ...], trees: tuple[Any, ...]) -> Any:
        return tuple(jax.tree.map(partial(cut, axis, size), tree) for axis, tree in zip(axes, trees, strict=True))

    results = (carry, outs, sums)
    last, outs, sums = pl.pallas_call(
        kernel,
        out_shape=jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), results),
        grid=(programs,),
        in_specs=specs(block, (None, 0, 0, 1), (shared, by_row, carry, steps)),
        out_specs=(*specs(block, (0, 1), results[:2]), *specs(1, (0,), results[2:])),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=1),
        name=name,
    )(shared, by_row, carry, steps)
    return last, outs, jax.tree.map(lambda s: s.sum(0), sums)


def product(a: Array, weight: Any, at: Any, dtype: Any) -> Array:
    """Returns `a [B, K]` times `weight[:, at]`, of a reference to `[K, n, W]`, in `accumulator(dtype)`.

    Its precision is that of products outside: float32 is rounded to TF32, as XLA does on a GPU, unless
    `jax.default_matmul_precision` says `"highest"`.
    """
    count = max(1, a.shape[1] * jnp.dtype(dtype).itemsize // TILE)
    size = a.shape[1] // count
    parts = jnp.split(a.astype(dtype), count, axis=1)
    rows = [weight[k * size : (k + 1) * size, at] for k in range(count)]
    multiply = partial(precision.plain_einsum, form="rk,kn->rn", dtype=dtype)
    products = list(map(multiply, parts, rows))
    return sum(products[1:], products[0])


def _is_list(a: Any) -> bool:
    return isinstance(a, list)


def _cut(block: int, axis: int, a: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*a.shape[:axis], block, *a.shape[axis + 1 :]), a.dtype)


def _parts(a: Any) -> Any:
    """Returns the shapes that `_read` gives."""
    if len(a.shape) < 4:
        return jax.ShapeDtypeStruct(a.shape[1:], a.dtype)
    return [jax.ShapeDtypeStruct((a.shape[1], a.shape[3]), a.dtype)] * a.shape[2]


def _in_memory(total: int, rows: int, out: Any) -> jax.ShapeDtypeStruct:
    if isinstance(out, list):
        return jax.ShapeDtypeStruct((total, rows, len(out), *out[0].shape[1:]), out[0].dtype)
    return jax.ShapeDtypeStruct((total, rows, *out.shape[1:]), out.dtype)


def _read(t: Array, ref: Any) -> Any:
    return [ref[t, :, n] for n in range(ref.shape[2])] if len(ref.shape) == 4 else ref[t]


def _write(t: Array, ref: Any, value: Any) -> None:
    if isinstance(value, list):
        for n, part in enumerate(value):
            ref[t, :, n] = part
    else:
        ref[t] = value
