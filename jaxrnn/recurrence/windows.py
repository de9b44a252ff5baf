"""Gives every so many steps a window of the steps around them, and says what becomes of masks and resets.

Of the valid steps of a row, one after the other, every `stride`-th is kept, beginning with the first. Its window is
centred on the `stride` steps that begin with it: this is the padding `"SAME"` of a length that `stride` divides,
whatever the length is. It has no step of another sequence. The output for a step at time `t` is at `t // stride`: a
stride of 1 leaves all in their places, and padding after a sequence stays after it.
"""

from collections.abc import Callable

import jax.numpy as jnp

from jaxrnn.recurrence.compact import Places, moved, places
from jaxrnn.types import Array, Steps

OUTSIDE, INVALID = -2, -1  # labels of what is before the first or after the last step, and of invalid steps


def over_windows(
    apply: Callable[[Array, Array], Array], xs: Array, steps: Steps, *, size: int, stride: int, dilation: int = 1
) -> tuple[Array, Steps]:
    """Runs `apply(windows, inside)` once; returns its outputs `[S, *batch, F]`, `S = ⌈T / stride⌉`, and their `Steps`.

    Args:
      apply: takes windows `[S, *batch, size, D]`, and bool `[S, *batch, size]`, which of their entries are steps of the
        sequence; the others are 0. Axes of the batch may have length 1 in the latter.
      xs: inputs `[T, *batch, D]`, 0 at invalid steps; there may be axes between those of the masks and the last.
      steps: of the inputs.
      size: the number of entries of a window.
      stride: the number of steps from one window to the next.
      dilation: the number of steps from one entry of a window to the next.
    """
    at = None if steps.valid is None else places(steps.valid)
    labels = _labels(steps, at, xs)
    xs = xs if at is None else moved(xs, at.order)
    reach, count = (size - 1) * dilation, -(-xs.shape[0] // stride)
    ahead, further = max(reach + 1 - stride, 0) // 2, reach // stride

    def windows(x: Array, fill: int, axis: int) -> Array:
        """Stacks the entries of all windows along a new axis."""
        blocks = _blocks(x, stride, ahead, further, fill)
        entries = (divmod(entry * dilation, stride) for entry in range(size))
        return jnp.stack([blocks[block : block + count, step] for block, step in entries], axis)

    inside = windows(labels, OUTSIDE, -1) == _blocks(labels, stride, fill=OUTSIDE)[:, 0, ..., None]
    inside = jnp.expand_dims(inside, tuple(range(labels.ndim, xs.ndim - 1)))
    ys = apply(jnp.where(inside[..., None], windows(xs, 0, -2), 0), inside)
    after = _after(steps, at, labels, stride)
    if after.valid is not None:
        rank = jnp.cumsum(after.valid, 0, dtype=jnp.int32) - 1
        ys = moved(ys, jnp.maximum(rank, 0))
    return ys, after


def _labels(steps: Steps, at: Places | None, xs: Array) -> Array:
    """Returns the number of the sequence of each step, int32 `[T, *batch]`, in the order of `at`."""
    total = xs.shape[0]
    if steps.resets is None:
        labels = jnp.zeros((total, *[1] * (xs.ndim - 2)) if at is None else at.order.shape, jnp.int32)
    else:
        labels = jnp.cumsum(steps.resets, 0, dtype=jnp.int32)
    if at is None:
        return labels
    step = jnp.expand_dims(jnp.arange(total, dtype=jnp.int32), tuple(range(1, at.order.ndim)))
    return jnp.where(step < at.length[None], moved(labels, at.order), INVALID)


def _after(steps: Steps, at: Places | None, labels: Array, stride: int) -> Steps:
    """Returns the `Steps` of the outputs.

    A reset acts on the output of the next step that is kept; where there is none, on what follows.
    """
    if stride == 1 or (steps.valid is None and steps.resets is None):
        return steps
    total = labels.shape[0]
    rank = jnp.expand_dims(jnp.arange(total), tuple(range(1, labels.ndim))) if at is None else at.rank
    kept = rank % stride == 0 if steps.valid is None else steps.valid & (rank % stride == 0)
    kept = _blocks(kept, stride)  # at most one in each block
    valid, resets = None if steps.valid is None else kept.any(1), steps.resets
    if resets is not None:
        marked = _blocks(resets, stride)
        passed = (jnp.cumsum(kept, 1, dtype=jnp.int32) > 0) & ~kept  # the one that is kept is before this step
        late = (marked & passed).any(1)
        resets = (marked & ~passed).any(1) | jnp.concatenate([jnp.zeros_like(late[:1]), late])[:-1]
    return steps._replace(valid=valid, resets=resets)


def _blocks(x: Array, stride: int, before: int = 0, further: int = 0, fill: int = 0) -> Array:
    """Splits time into blocks of `stride` steps after `before` entries of `fill`, `further` more than T steps take."""
    count = -(-x.shape[0] // stride) + further
    pads = [(before, count * stride - before - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, pads, constant_values=fill).reshape(count, stride, *x.shape[1:])
