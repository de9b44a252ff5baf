"""A scan that holds much for each step, a segment of steps at a time: what it holds then stays in the CPU's cache."""

from collections.abc import Callable
from typing import Any

import jax

from jaxrnn.precision import accumulator
from jaxrnn.recurrence.loop import segmented
from jaxrnn.types import Array, Carry, Flow, Params

# Bytes held for all steps from which on segments are no slower, though gradients make everything in them again; and
# bytes of a segment. By measurement on 2 cores: 0.2 to 1.05 of the time, and 0.1 to 0.6 of the memory.
LARGE = 8 * 2**20
SEGMENT = 2 * 2**20


def in_segments(
    run: Callable[[Params, Carry, Array, Flow], tuple[Carry, Array]],
    params: Params,
    carry: Carry,
    xs: Array,
    flow: Flow,
    *,
    step_bytes: int,
    multiple: int = 1,
    method: str,
    reverse: bool,
    remat: Any,
) -> tuple[Carry, Array]:
    """`run(params, carry, xs, flow) -> (carry, ys)`, whose gradient keeps what is between segments alone.

    It is run whole unless `method` is `"auto"`, it holds enough, and this is a CPU; `remat` then decides what is kept.
    The length of segments is a multiple of `multiple`.
    """
    if method != "auto" or jax.default_backend() != "cpu" or len(xs) * step_bytes < LARGE:
        return (run if remat is None else jax.checkpoint(run))(params, carry, xs, flow)

    def segment(params: Params, carry: Carry, steps: tuple[Array, Array | None, Array | None]) -> tuple[Carry, Array]:
        xs, valid, resets = steps
        return run(params, carry, xs, flow._replace(valid=valid, resets=resets))

    steps = (xs, flow.valid, flow.resets)
    length = -(-max(2, SEGMENT // step_bytes) // multiple) * multiple
    return remade(segment, params, carry, steps, length, reverse=reverse)


def remade(
    run: Callable[[Params, Carry, Any], tuple[Carry, Any]],
    params: Params,
    carry: Carry,
    inputs: Any,
    length: int,
    *,
    reverse: bool,
) -> tuple[Carry, Any]:
    """`run(params, carry, inputs) -> (carry, ys)`, `length` steps at a time, all of which a gradient makes again."""
    again = jax.checkpoint(run, prevent_cse=False)
    wide = jax.tree.map(lambda p: p.astype(accumulator(p.dtype)), params)  # in which their gradients are summed

    def segment(carry: Carry, inputs: Any) -> tuple[Carry, Any]:
        return again(jax.tree.map(lambda p, given: p.astype(given.dtype), wide, params), carry, inputs)

    return segmented(segment, carry, inputs, length, reverse=reverse)
