"""Loops over `step`, with resets before it and masks after it, which defines a run of a cell."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.split import from_next
from jaxrnn.sizes import is_known
from jaxrnn.types import Array, Carry, Flow, Split

WRITTEN_OUT = 4  # an LSTM in half precision then takes 2.75 kernels per step on a GPU instead of 5
SHORT = 32


def select(where: Array, on_true: Any, on_false: Any) -> Any:
    """Applies `jnp.where` to two equal pytrees; `where` has their leading axes."""

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(where.reshape(where.shape + (1,) * (jnp.ndim(b) - where.ndim)), a, b)

    return jax.tree.map(leaf, on_true, on_false)


def valid_steps(lengths: Array | None, mask: Array | None, total: int, first: Array | int = 0) -> Array | None:
    """Returns the bool `[T, *batch]` of `lengths [*batch]` or `mask`; None if all steps are valid.

    `first` is the number of steps of the sequence that came before these.
    """
    if lengths is None:
        return mask
    lengths = jnp.asarray(lengths)
    return (first + jnp.arange(total)).reshape(-1, *[1] * lengths.ndim) < lengths[None]


def entries(resets: Array | None, split: Split | None = None) -> Array | None:
    """Returns where a run in reverse enters the sequences that begin at `resets`: one step before the next begins."""
    if resets is None:
        return None
    after = jnp.zeros_like(resets[:1]) if split is None else from_next(split, resets[:1])
    return jnp.concatenate([resets[1:], after])


def beginnings(entered: Array | None) -> Array | None:
    """Returns the first steps of the sequences that a run in reverse enters at `entered`, but for the first of all."""
    return None if entered is None else jnp.concatenate([jnp.zeros_like(entered[:1]), entered])[:-1]


def flip(steps: Any) -> Any:
    """Reverses the leading axis of every leaf; None stays None."""
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), steps)


def silence(valid: Array | None, xs: Any) -> Any:
    """Returns `xs` with zeros at invalid steps, so that no value there, not even NaN, reaches outputs or gradients."""
    return xs if valid is None else select(valid, xs, jax.tree.map(jnp.zeros_like, xs))


def activated(activation: Callable[..., Any] | None, valid: Array | None, *ys: Any) -> Any:
    """Returns `activation(*ys)`, with ones as its inputs at invalid steps.

    Where a zero meets a singular function, even a cotangent of zero gives NaN.
    """
    if activation is None:
        return ys[0]
    return activation(*(y if valid is None else select(valid, y, jnp.ones_like(y)) for y in ys))


def hold(valid: Array | None, before: Carry, carry: Carry, out: Any) -> tuple[Carry, Any]:
    """Returns the carry and output of a step: where it is invalid, the carry before it and an output of zero."""
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
    """Runs `lax.scan`; `unroll=None` is one step per iteration on the CPU and `WRITTEN_OUT` elsewhere.

    Loops that are short, which gain little, and those of unknown length have one step everywhere.
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
    """Runs `run(carry, inputs) -> (carry, ys)` over time, `length` steps at a time; all at once, if T is unknown."""
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
