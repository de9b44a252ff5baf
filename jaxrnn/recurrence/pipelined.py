"""Runs layers that lie on several devices, each of which works one chunk of steps behind the one before."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.loop import select
from jaxrnn.recurrence.segments import with_wide_sums
from jaxrnn.recurrence.split import from_next, from_previous, part
from jaxrnn.sharding import typed_as, varying
from jaxrnn.types import Array, Carry, Params, Split


class Passing(NamedTuple):
    """Steps on their way from layer to layer; on a belt each leaf has a further first axis, that of chunks.

    Attributes:
      xs: `[T, *batch, D]`, the values.
      mask: bool `[T, *batch]`; None: all valid.
      resets: bool `[T, *batch]`; None: no resets.
    """

    xs: Array
    mask: Array | None
    resets: Array | None


class _State(NamedTuple):
    """The state of a device between two ticks."""

    carry: Carry  # of its layers
    made: Passing  # the chunk of the last tick, behind its layers
    belt: Passing  # as many chunks as its part has


def pipelined(
    split: Split,
    work: Callable[[Params, Carry, Passing, Array], tuple[Carry, Array]],
    params: Params,
    carry: Carry,
    belt: Passing,
) -> tuple[Carry, Array]:
    """Runs `work(params, carry, chunk, number) -> (carry, ys)` of each device over all chunks, in order.

    All chunks lie on a belt, of which each device has an equal part, and which moves by one chunk a tick towards the
    first device. That takes one chunk a tick off the belt, and the last device puts what its layers made onto the
    other end, so that after the last tick the belt has the outputs in their order. `split` goes forward.

    All arguments of `work`, its constants among them, vary over the same mesh axes. A tick would otherwise mark them so
    itself, and its gradient would add them up over devices, some of which do not work. A gradient computes each chunk
    again: JAX would store the weights, too, once a tick, since they are an operand of a branch.

    Args:
      split: over the devices, of which the first has the first layers and the first part of the belt.
      work: the layers of a device over one chunk. The outputs have the type of `chunk.xs`.
      params: of this device's layers.
      carry: of this device's layers.
      belt: this device's part of all chunks, in order, one at least.

    Returns:
      `(carry, ys)`, with this device's part of the outputs, as the belt has it.
    """
    devices, device = lax.axis_size(split.axis_name), part(split)
    slots = belt.xs.shape[0]
    ticks = devices * slots + devices - 1

    def rest(params: Params, carry: Carry, chunk: Passing, number: Array) -> tuple[Carry, Array]:
        del params, number
        return carry, chunk.xs

    @partial(jax.checkpoint, prevent_cse=False)
    def work_or_rest(params: Params, carry: Carry, chunk: Passing, number: Array) -> tuple[Carry, Array]:
        works = (number >= 0) & (number < devices * slots)
        return lax.cond(works, work, rest, params, carry, chunk, number)

    run = with_wide_sums(work_or_rest, params)

    def tick(state: _State, t: Array) -> tuple[_State, None]:
        slot = t % slots
        head = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, slot, keepdims=False), state.belt)
        chunk = jax.tree.map(partial(from_previous, split), state.made, head)
        carry, ys = run(state.carry, chunk, t - device)
        made = chunk._replace(xs=ys)
        tail = select(device == devices - 1, made, jax.tree.map(partial(from_next, split), head))
        # The belt is a ring: what leaves it and what enters it share a slot, and nothing else moves in memory.
        belt = jax.tree.map(lambda a, new: lax.dynamic_update_index_in_dim(a, new, slot, 0), state.belt, tail)
        return _State(carry, made, belt), None

    made = jax.tree.map(lambda a: jnp.zeros_like(a[0]), belt)
    after, _ = jax.eval_shape(work, params, carry, made, device)
    state = _State(typed_as(carry, after, varying((carry, belt))), made, belt)
    state, _ = lax.scan(tick, state, jnp.arange(ticks, dtype=device.dtype))
    return state.carry, jnp.roll(state.belt.xs, -(ticks % slots), 0)
