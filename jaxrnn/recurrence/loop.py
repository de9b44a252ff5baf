"""The definition: `step`, looped, with resets before it and masks after it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.shapes import align
from jaxrnn.sharding import is_placed
from jaxrnn.sizes import is_known
from jaxrnn.types import Array, Carry, Flow

WRITTEN_OUT = 4  # on a GPU: 2.75 kernels a step instead of 5 for an LSTM in half precision
SHORT = 32


def select(where: Array, on_true: Any, on_false: Any) -> Any:
    """`jnp.where` over two equal pytrees; `where` has their leading axes."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(where.reshape(where.shape + (1,) * (jnp.ndim(b) - where.ndim)), a, b)

    return jax.tree.map(leaf, on_true, on_false)


def valid_steps(lengths: Array | None, mask: Array | None, total: int) -> Array | None:
    """The bool `[T, *batch]` that `lengths [*batch]` or `mask` stands for; None if all steps are valid."""
    if lengths is None:
        return mask
    lengths = jnp.asarray(lengths)
    return jnp.arange(total).reshape(-1, *[1] * lengths.ndim) < lengths[None]


def entries(resets: Array | None) -> Array | None:
    """Where segments that begin at `resets` are entered from their end: one step before the next one begins."""
    return None if resets is None else jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])


def flip(steps: Any) -> Any:
    """Every leaf's leading axis from its end; None stays None."""
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), steps)


def silence(valid: Array | None, xs: Any) -> Any:
    """`xs` with zeros at invalid steps: what stands there, NaN included, reaches neither values nor gradients."""
    return xs if valid is None else select(valid, xs, jax.tree.map(jnp.zeros_like, xs))


def activated(activation: Callable[..., Any] | None, valid: Array | None, *ys: Any) -> Any:
    """`activation(*ys)`, which sees ones at invalid steps.

    Where a zero meets a singular function, even a cotangent of zero gives NaN.
    """
    if activation is None:
        return ys[0]
    return activation(*(y if valid is None else select(valid, y, jnp.ones_like(y)) for y in ys))


def hold(valid: Array | None, before: Carry, carry: Carry, out: Any) -> tuple[Carry, Any]:
    """What a step leaves behind: where it is invalid, the carry of before and an output of zero."""
    if valid is None:
        return carry, out
    return select(valid, carry, before), silence(valid, out)


def loop(
    step: Callable[..., tuple[Carry, Any]],
    carry: Carry,
    zs: Any,
    flow: Flow,
    *,
    unroll: int | None = None,
) -> tuple[Carry, Any]:
    """Runs `step(carry, z) -> (carry, y)`, or `step(carry, z, noise)`, over the leading axis of `zs` under `flow`."""
    noise = flow.noise

    def body(carry: Carry, at_t: Any) -> tuple[Carry, Any]:
        z, valid, reset, masks = at_t
        if reset is not None:
            carry = select(reset, flow.fresh, carry)
        new, y = step(carry, z) if noise is None else step(carry, z, noise._replace(steps=masks))
        return hold(valid, carry, new, y)

    masks = None if noise is None else noise.steps
    return scan(body, carry, (zs, flow.valid, flow.resets, masks), unroll=unroll)


def scan(
    body: Callable[[Carry, Any], tuple[Carry, Any]],
    carry: Carry,
    xs: Any,
    *,
    reverse: bool = False,
    unroll: int | None,
) -> tuple[Carry, Any]:
    """`lax.scan`; `unroll=None` is one step an iteration on the CPU and `WRITTEN_OUT` elsewhere.

    Short loops and those of unknown length have one everywhere: they gain little, and cannot be written out.
    """
    total = jax.tree.leaves(xs)[0].shape[0]
    run = partial(lax.scan, body, reverse=reverse)
    if not is_known(total) or (unroll is None and total < SHORT):
        return run(carry, xs)
    if unroll is not None:
        return run(carry, xs, unroll=unroll)
    return lax.platform_dependent(carry, xs, cpu=run, default=partial(run, unroll=WRITTEN_OUT))


def segmented(
    run: Callable[[Carry, Any], tuple[Carry, Any]], carry: Carry, inputs: Any, length: int, *, reverse: bool = False
) -> tuple[Carry, Any]:
    """`run(carry, inputs) -> (carry, ys)` over the leading axis, `length` steps at a time; all, if nobody knows T."""
    total = jax.tree.leaves(inputs)[0].shape[0]
    if not is_known(total):
        return run(carry, inputs)
    whole = total - total % length

    def over_head(carry: Carry) -> tuple[Carry, Any]:
        parts = jax.tree.map(lambda a: a[:whole].reshape(whole // length, length, *a.shape[1:]), inputs)
        carry, ys = lax.scan(run, carry, parts, reverse=reverse)
        return carry, jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), ys)

    def over_tail(carry: Carry) -> tuple[Carry, Any]:
        return run(carry, jax.tree.map(lambda a: a[whole:], inputs))

    if whole == total and whole:
        return over_head(carry)
    if not whole:
        return over_tail(carry)
    first, second = (over_tail, over_head) if reverse else (over_head, over_tail)
    carry, early = first(carry)
    carry, late = second(carry)
    parts = (late, early) if reverse else (early, late)
    return carry, jax.tree.map(lambda *y: jnp.concatenate(y), *parts)


def rewrite(
    body: Callable[[Carry, Any, Any], tuple[Carry, Any, Any]],
    carry: Carry,
    buffers: Any,
    xs: Any,
    *,
    reverse: bool = False,
    unroll: int | None,
    in_place: bool,
) -> tuple[Carry, Any, Any]:
    """`body(carry, buffer_t, x_t) -> (carry, new_buffer_t, y_t)` over leading axes; returns `(carry, buffers, ys)`.

    What `body` makes of `buffer_t`, of the same shape, may overwrite it; None leaves `buffers` as they were.
    Values are those of `lax.scan`; `in_place` is for the CPU, where it saves the time and memory of a second array.
    It is not for reverse differentiation, which would keep all `buffers` at every step.
    """
    total = jax.tree.leaves(buffers)[0].shape[0]
    if not in_place or (unroll or 1) > 1 or total == 0 or is_placed((carry, buffers, xs)):

        def scanned(carry: Carry, at_t: tuple[Any, Any]) -> tuple[Carry, tuple[Any, Any]]:
            carry, new, y = body(carry, *at_t)
            return carry, (new, y)

        carry, (new, ys) = scan(scanned, carry, (buffers, xs), reverse=reverse, unroll=unroll)
        return carry, new, ys

    def at(tree: Any, t: Array | int) -> Any:
        return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, t, keepdims=False), tree)

    def put(tree: Any, new: Any, t: Array) -> Any:
        return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, _bits(b), t, 0), tree, new)

    def in_turn(i: Array, state: tuple[Carry, Any, Any]) -> tuple[Carry, Any, Any]:
        carry, buffers, ys = state
        t = total - 1 - i if reverse else i
        # Always true, which XLA cannot know: the read has to be finished before anything uses it. Otherwise XLA merges
        # it into each use, cannot order it against the overwrite below and copies all of `buffers` in every step.
        here = lax.cond(t < total, at, lambda b, t: jax.tree.map(lambda a: jnp.zeros_like(a[0]), b), buffers, t)
        carry, new, y = body(carry, jax.tree.map(_floats, here, kinds), at(xs, t))
        return carry, buffers if new is None else put(buffers, new, t), put(ys, y, t)

    shapes = jax.eval_shape(lambda c, b, x: body(c, at(b, 0), at(x, 0))[2], carry, buffers, xs)
    leaves, tree = jax.tree.flatten(shapes)
    # Each its own value: arrays that start equal are made once and then copied. Not before the buffers, whose making
    # may have needed as much memory; they are waited for row by row, because rows may lie on several devices.
    made = jax.tree.leaves(buffers)[0][0, ..., :1]

    def fill(value: int, shape: tuple[int, ...], dtype: Any) -> Array:
        rows = made.reshape(made.shape + (1,) * (len(shape) - made.ndim))
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
    """`a` itself, but not to be had before `finished`, of which it takes a zero that XLA cannot foresee."""
    never = (finished > 0) & (finished < 0)
    return a + align(never.astype(a.dtype), a)


def _bits(a: Array) -> Array:
    """Half precision as integers: XLA's CPU compiler updates an array of half floats by converting all of it."""
    return lax.bitcast_convert_type(a, jnp.uint16) if a.dtype in (jnp.bfloat16, jnp.float16) else a


def _floats(a: Array, dtype: Any) -> Array:
    return a if a.dtype == dtype else lax.bitcast_convert_type(a, dtype)
