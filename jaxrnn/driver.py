"""Runs cells and layers, over a sequence or for one step, without checks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.precision import accumulator, cast_once
from jaxrnn.recurrence.elapsed import with_elapsed
from jaxrnn.recurrence.loop import entries, flip, loop, select, silence, valid_steps
from jaxrnn.recurrence.segments import lengths_of, remade
from jaxrnn.recurrence.split import at_end, part, turned
from jaxrnn.sharding import typed_as, varying
from jaxrnn.splits import check_cell
from jaxrnn.types import Array, Carry, Cell, Flow, Layer, Method, Params, Remat, Split, Steps


class Options(NamedTuple):
    """The options of a run of a cell, which `unroll` explains."""

    reverse: bool = False
    method: Method = "auto"
    remat: Remat = None
    unroll: int | None = None


@partial(jax.jit, static_argnames=("cell", "how", "split"))
def run_cell(
    cell: Cell,
    how: Options,
    params: Params,
    carry: Carry | None,
    xs: Array,
    valid: Array | None,
    resets: Array | None,
    key: Array | None,
    first: Array | int = 0,
    split: Split | None = None,
) -> tuple[Carry, Array]:
    """Runs `cell` over the leading axis of `xs`; `valid`, `resets`, `key`, `first` and `split` are those of `Steps`."""
    reverse, method, remat, unroll = how
    check_cell(cell, method, remat, split)
    by_step = remat in ("step", "carries")
    fresh = cell.init_carry(params, xs.shape[1:-1])
    carry = _settled(cell, params, fresh if carry is None else carry, xs)
    resets = entries(resets, split) if reverse else resets
    split = turned(split) if reverse else split
    if cell.timed:
        xs = with_elapsed(xs, valid, resets, reverse=reverse)
    xs = silence(valid, xs)
    fresh = None if resets is None else _settled(cell, params, fresh, xs)
    noise = None
    if key is not None and cell.draw is not None:
        cell, params, noise = cell.draw(key, params, xs.shape[:-1], first)

    def run(params: Params, carry: Carry, inputs: Any) -> tuple[Carry, Array]:
        xs, valid, resets, masks = inputs
        flow = Flow(valid, resets, fresh, None if noise is None else noise._replace(steps=masks), split=split)
        if method != "scan" and cell.scan is not None:
            policy = remat if by_step else None
            return cell.scan(params, carry, xs, flow, method=method, remat=policy, unroll=unroll)
        step = jax.checkpoint(cell.step, prevent_cse=False) if by_step else cell.step
        zs = cell.project(params, xs)
        held = _held(cell, params, zs)
        return loop(lambda *at_t: step(held(), *at_t), carry, zs, flow, unroll=unroll)

    # Engines only run forward: for `reverse` they get flipped inputs.
    inputs = (xs, valid, resets, () if noise is None else noise.steps)
    inputs = flip(inputs) if reverse else inputs
    carry, ys = remade(run, params, carry, inputs, () if by_step else lengths_of(remat, xs.shape[0]))
    return at_end(split, carry), flip(ys) if reverse else ys


def _held(cell: Cell, params: Params, zs: Any) -> Callable[[], Params]:
    """Returns a function that gives a loop over `step` its parameters, cast once before it by `cell.cast`, if any."""
    cast = cell.cast
    return (lambda: params) if cast is None else cast_once(params, partial(cast, dtype=jax.tree.leaves(zs)[0].dtype))


def run_layer(layer: Layer, params: Params, carry: Carry | None, xs: Array, steps: Steps) -> tuple[Carry, Any, Steps]:
    """Runs `layer` over a sequence; returns the carry, the outputs, and the `Steps` of the layers after it."""
    carry, ys, *changed = layer.run(params, carry, xs, steps)
    return carry, ys, changed[0] if changed else steps


@partial(jax.jit, static_argnames=("model", "how", "split"))
def run(
    model: Cell | Layer,
    how: Options,
    params: Params,
    carry: Carry | None,
    xs: Array,
    lengths: Array | None,
    mask: Array | None,
    resets: Array | None,
    key: Array | None,
    context: Any,
    split: Split | None = None,
) -> tuple[Carry, Any, Array | None, dict[str, Array]]:
    """Returns the carry and outputs of `unroll`, which outputs are valid, and the named costs."""
    first = 0 if split is None else part(split) * xs.shape[0]
    steps = Steps(valid_steps(lengths, mask, xs.shape[0], first), resets, key, context, first, split=split)
    carry, ys, after = run_model(model, how, params, carry, xs, steps)
    return carry, ys, after.valid, after.aux


def run_model(
    model: Cell | Layer, how: Options, params: Params, carry: Carry | None, xs: Array, steps: Steps
) -> tuple[Carry, Any, Steps]:
    """Runs a cell, which has options, or a layer; returns what `run_layer` returns."""
    if isinstance(model, Layer):
        return run_layer(model, params, carry, xs, steps)
    flags = steps.valid, steps.resets, steps.key, steps.first
    return *run_cell(model, how, params, carry, xs, *flags, split=steps.split), steps


@partial(jax.jit, static_argnames=("model",))
def run_step(
    model: Cell | Layer, params: Params, carry: Carry, x: Array, resets: Array | None, context: Any
) -> tuple[Carry, Any]:
    """Returns the carry and output of `step`."""
    if resets is not None:
        fresh = model.init_carry(params, batch_of(model, x))
        carry = jax.tree.map(lambda new, old: select(resets, new.astype(jnp.result_type(old)), old), fresh, carry)
    if isinstance(model, Cell):
        return step_cell(model, params, carry, x)
    return step_layer(model, params, carry, x, context)


def step_layer(layer: Layer, params: Params, carry: Carry, x: Array, context: Any) -> tuple[Carry, Any]:
    """Runs one step of a causal layer, which takes the context only if it reads one."""
    assert layer.step is not None  # or nobody would ask for a step
    return layer.step(params, carry, x) if layer.context is None else layer.step(params, carry, x, context)


def batch_of(model: Cell | Layer, x: Array) -> tuple[int, ...]:
    """Returns the axes that an input shares with its carry: those of the batch and of an image."""
    return x.shape if model.num_feature_axes == 0 else x.shape[:-1]


def step_cell(cell: Cell, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
    """Runs one step of `cell`. The carry keeps its dtype, so that `lax.scan` can loop over steps."""
    new, y = cell.step(params, _settled(cell, params, carry, x[None]), cell.project(params, x))
    return jax.tree.map(_as_given, carry, new), y


def _as_given(before: Array, after: Array) -> Array:
    """Returns `after` in the dtype of `before`, unless that is half precision, which no carry has."""
    dtype = jnp.result_type(before)
    half = jnp.issubdtype(dtype, jnp.floating) and dtype != accumulator(dtype)
    return after if half else after.astype(dtype)


def _settled(cell: Cell, params: Params, carry: Carry, xs: Array) -> Carry:
    """Casts and shards the carry to the type that one step returns: `lax.scan` needs both to match."""

    def first_step(params: Params, xs: Array) -> Carry:
        start = cell.init_carry(params, xs.shape[1:-1])
        return cell.step(params, start, cell.project(params, xs.sum(0)))[0]  # T may be 0: there is no first one

    after = jax.eval_shape(first_step, params, xs)
    return typed_as(carry, after, varying((params, carry, xs)))
