"""Loops that make an array like the one that they read: as a new one, or in its place."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.loop import scan
from jaxrnn.shapes import align
from jaxrnn.sharding import is_placed
from jaxrnn.types import Array, Carry

Body = Callable[[Any, Carry, Any, Any], tuple[Carry, Any, Any]]


class Loop(Protocol):
    """A way to loop `body(rows, carry, buffer_t, x_t) -> (carry, new_buffer_t, y_t)`.

    It returns `(carry, buffers, ys)`. `rows` is the same in every step. All arguments of `body` have leaves
    `[*batch, ...]`, and what it closes over has no batch axes, so that a loop may run a part of the batch at a time.
    `new_buffer_t`, of the shape of `buffer_t`, may overwrite it; None leaves `buffers` unchanged.
    """

    def __call__(
        self, body: Body, rows: Any, carry: Carry, buffers: Any, xs: Any, *, reverse: bool = False, unroll: int | None
    ) -> tuple[Carry, Any, Any]: ...


def anew(
    body: Body, rows: Any, carry: Carry, buffers: Any, xs: Any, *, reverse: bool = False, unroll: int | None
) -> tuple[Carry, Any, Any]:
    """Makes new buffers: this is `lax.scan`."""

    def scanned(carry: Carry, at_t: tuple[Any, Any]) -> tuple[Carry, tuple[Any, Any]]:
        carry, new, y = body(rows, carry, *at_t)
        return carry, (new, y)

    carry, (new, ys) = scan(scanned, carry, (buffers, xs), reverse=reverse, unroll=unroll)
    return carry, new, ys


def in_place(
    body: Body, rows: Any, carry: Carry, buffers: Any, xs: Any, *, reverse: bool = False, unroll: int | None
) -> tuple[Carry, Any, Any]:
    """Overwrites the buffers, which on the CPU saves the time and memory of a second array.

    It is not for reverse differentiation, which would store all `buffers` at every step.
    """
    total = jax.tree.leaves(buffers)[0].shape[0]
    if (unroll or 1) > 1 or total == 0 or is_placed((carry, buffers, xs)):
        return anew(body, rows, carry, buffers, xs, reverse=reverse, unroll=unroll)

    def at(tree: Any, t: Array | int) -> Any:
        return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, t, keepdims=False), tree)

    def put(tree: Any, new: Any, t: Array) -> Any:
        return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, _bits(b), t, 0), tree, new)

    def in_turn(i: Array, state: tuple[Carry, Any, Any]) -> tuple[Carry, Any, Any]:
        carry, buffers, ys = state
        t = total - 1 - i if reverse else i
        # The condition always holds, which XLA cannot know: so the read is finished before its use. Otherwise XLA
        # merges it into each use, cannot order it before the overwrite and copies all of `buffers` in every step.
        here = lax.cond(t < total, at, lambda b, t: jax.tree.map(lambda a: jnp.zeros_like(a[0]), b), buffers, t)
        carry, new, y = body(rows, carry, jax.tree.map(_floats, here, kinds), at(xs, t))
        return carry, buffers if new is None else put(buffers, new, t), put(ys, y, t)

    shapes = jax.eval_shape(lambda c, b, x: body(rows, c, at(b, 0), at(x, 0))[2], carry, buffers, xs)
    leaves, tree = jax.tree.flatten(shapes)
    # Each has its own value: XLA makes equal arrays once and then copies them. They wait for the buffers, whose
    # computation may need as much memory; for each sequence apart, because the batch may be sharded.
    made = jax.tree.leaves(buffers)[0][0]

    def fill(value: int, shape: tuple[int, ...], dtype: Any) -> Array:
        shared = next((i for i, (m, n) in enumerate(zip(made.shape, shape, strict=False)) if m != n), len(shape))
        rows = made[(..., *[0] * (made.ndim - shared))]
        rows = rows.reshape(rows.shape + (1,) * (len(shape) - shared))
        return _bits(after(rows, jnp.full((total, *shape), value, dtype)))

    empty = [fill(i, s.shape, s.dtype) for i, s in enumerate(leaves)]
    kinds = jax.tree.map(lambda a: a.dtype, buffers)
    start = (carry, jax.tree.map(_bits, buffers), jax.tree.unflatten(tree, empty))
    carry, buffers, ys = lax.fori_loop(0, total, in_turn, start)
    return (
        carry,
        jax.tree.map(_floats, buffers, kinds),
        jax.tree.map(_floats, ys, jax.tree.map(lambda s: s.dtype, shapes)),
    )


def after(finished: Array, a: Array) -> Array:
    """Returns `a`, but not before `finished` exists: it adds a zero that depends on it, which XLA cannot know."""
    never = (finished > 0) & (finished < 0)
    return a + align(never.astype(a.dtype), a)


def _bits(a: Array) -> Array:
    """Views half precision as integers: XLA on the CPU would convert all of an array of half floats to update it."""
    return lax.bitcast_convert_type(a, jnp.uint16) if a.dtype in (jnp.bfloat16, jnp.float16) else a


def _floats(a: Array, dtype: Any) -> Array:
    return a if a.dtype == dtype else lax.bitcast_convert_type(a, dtype)
