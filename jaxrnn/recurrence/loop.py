"""The definition: `step`, looped, with resets before it and masks after it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.types import Array, Carry, Flow


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
    return jnp.arange(total).reshape(-1, *[1] * lengths.ndim) < lengths


def silence(valid: Array | None, xs: Any) -> Any:
    """`xs` with zeros at invalid steps: what stands there, NaN included, reaches neither values nor gradients."""
    return xs if valid is None else select(valid, xs, jax.tree.map(jnp.zeros_like, xs))


def hold(valid: Array | None, before: Carry, carry: Carry, out: Any) -> tuple[Carry, Any]:
    """What a step leaves behind: where it is invalid, the carry of before and an output of zero."""
    if valid is None:
        return carry, out
    return select(valid, carry, before), silence(valid, out)


def loop(
    step: Callable[[Carry, Any], tuple[Carry, Any]],
    carry: Carry,
    zs: Any,
    flow: Flow,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """Runs `step(carry, z) -> (carry, y)` over the leading axis of `zs` under `flow`."""

    def body(carry: Carry, at_t: tuple[Any, Array | None, Array | None]) -> tuple[Carry, Any]:
        z, valid, reset = at_t
        if reset is not None:
            carry = select(reset, flow.fresh, carry)
        return hold(valid, carry, *step(carry, z))

    return lax.scan(body, carry, (zs, flow.valid, flow.resets), reverse=reverse, unroll=unroll)


def segmented(
    run: Callable[[Carry, Any], tuple[Carry, Any]], carry: Carry, inputs: Any, length: int, *, reverse: bool = False
) -> tuple[Carry, Any]:
    """`run(carry, inputs)` in segments of `length` steps, rebuilt in the backward pass from their first carries."""
    total = jax.tree.leaves(inputs)[0].shape[0]
    whole = total - total % length
    run = jax.checkpoint(run, prevent_cse=False)

    def over_head(carry: Carry) -> tuple[Carry, Any]:
        parts = jax.tree.map(lambda a: a[:whole].reshape(-1, length, *a.shape[1:]), inputs)
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
