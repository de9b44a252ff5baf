"""Runs a scan one segment of steps at a time: only the carries between segments are stored for a gradient.

On the CPU the intermediate values of a segment also stay in the cache.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax

from jaxrnn.precision import accumulator
from jaxrnn.recurrence.loop import segmented
from jaxrnn.shapes import without_axes_of_one
from jaxrnn.sizes import at_least, is_known
from jaxrnn.types import Array, Carry, Flow, Params

# From `LARGE` bytes of intermediate values on, segments of `SEGMENT` bytes are no slower, though gradients recompute
# them: by measurement on 2 cores they take 0.2 to 1.05 of the time, and 0.1 to 0.6 of the memory.
LARGE = 8 * 2**20
SEGMENT = 2 * 2**20
PARTS = 64  # of each level of recursive checkpoints


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
    remat: Any,
) -> tuple[Carry, Array]:
    """Runs `run(params, carry, xs, flow) -> (carry, ys)` with checkpoints only between segments.

    It has segments if `method` is `"auto"`, it is large enough, and the platform is a CPU; otherwise `remat` decides
    whether it is recomputed as a whole. The length of segments is a multiple of `multiple`. Devices that share time
    exchange states once, and not once a segment, so that they have no segments.
    """

    def part(params: Params, carry: Carry, steps: tuple[Array, Array | None, Array | None]) -> tuple[Carry, Array]:
        xs, valid, resets = steps
        return run(params, carry, xs, flow._replace(valid=valid, resets=resets))

    whole = part if remat is None else jax.checkpoint(part)
    steps = (xs, flow.valid, flow.resets)
    if method != "auto" or flow.split is not None or not at_least(xs.shape[0] * step_bytes, LARGE):
        return whole(params, carry, steps)
    length = -(-max(2, SEGMENT // step_bytes) // multiple) * multiple
    in_turn = partial(remade, part, lengths=(length,))
    # JAX traces both ways and lowers the platform's: the compiler sees no conditional.
    return lax.platform_dependent(params, carry, steps, cpu=in_turn, default=whole)


def remade(
    run: Callable[[Params, Carry, Any], tuple[Carry, Any]],
    params: Params,
    carry: Carry,
    inputs: Any,
    lengths: tuple[int, ...],
) -> tuple[Carry, Any]:
    """Runs `run(params, carry, inputs) -> (carry, ys)` in segments of time, which a gradient recomputes.

    `lengths` are the steps in a segment, in a segment of each segment, and so on; with none it only runs.
    """
    if not lengths:
        return run(params, carry, inputs)
    length, *inner = lengths

    @partial(jax.checkpoint, prevent_cse=False)
    def again(params: Params, carry: Carry, narrow: Any) -> tuple[Carry, Any]:
        part = jax.tree.map(lambda a, given: a.reshape(a.shape[0], *given.shape[1:]), narrow, inputs)
        return remade(run, params, carry, part, tuple(inner))

    segment = with_wide_sums(again, params)
    # XLA copies the whole of an input with an axis of length 1 into another layout, and that of other inputs not.
    return segmented(segment, carry, jax.tree.map(without_axes_of_one, inputs), length)


def with_wide_sums(run: Callable[..., Any], params: Params) -> Callable[..., Any]:
    """Returns `run` without its first argument, `params`, whose gradients a loop then sums in float32 at least."""
    wide = jax.tree.map(lambda p: p.astype(accumulator(p.dtype)), params)

    def narrowed(*arguments: Any) -> Any:
        return run(jax.tree.map(lambda p, given: p.astype(given.dtype), wide, params), *arguments)

    return narrowed


def lengths_of(segments: str | int | tuple[int, ...] | None, total: int) -> tuple[int, ...]:
    """Returns the `lengths` for `remade` of `total` steps; for a scheme none, where the number is small or unknown.

    `"sqrt"` has segments of about √T steps: as many steps as there are carries between segments. `"recursive"` divides
    time into at most `PARTS` parts, and each part again, until it has at most `PARTS` steps; each further level stores
    a few carries and recomputes once more.
    """
    if not isinstance(segments, str):
        return segments if isinstance(segments, tuple) else () if segments is None else (segments,)
    if not is_known(total) or total < 2:
        return ()
    levels = 1 if segments == "sqrt" else max(1, math.ceil(math.log(total, PARTS)) - 1)
    lengths: list[int] = []
    for level in range(levels, 0, -1):
        total = _divisor_near(total, round(total ** (level / (level + 1))))
        lengths.append(total)
    return tuple(lengths)


def _divisor_near(total: int, aim: int) -> int:
    """Returns a divisor of `total` within a quarter of `aim`, or `aim`: other lengths leave a shorter last segment."""
    nearby = range(aim - aim // 4, aim + aim // 4 + 1)
    return min(nearby, key=lambda length: (total % length != 0, abs(length - aim)))
