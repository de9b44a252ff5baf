"""Computes the time since the previous step in the direction of travel, for cells whose inputs carry times."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.precision import accumulator
from jaxrnn.recurrence.loop import select, silence
from jaxrnn.sharding import vary, varying
from jaxrnn.types import Array


@partial(jax.jit, static_argnames="reverse")
def with_elapsed(xs: Array, valid: Array | None, resets: Array | None, *, reverse: bool = False) -> Array:
    """Returns `xs [T, *batch, …, D]` with the last feature, the time since the previous input, since the previous step.

    The previous step is the last valid one of the same sequence in the direction of travel. The times of invalid steps
    in between are added; one that is not finite counts as 0. The first step of a sequence keeps its time, and in
    reverse, where no input has it, has 0; invalid steps have 0.

    Args:
      xs: the inputs.
      valid: bool `[T, *batch]`; None: all valid.
      resets: bool `[T, *batch]`, where a run in this direction enters a sequence; None: there is one.
      reverse: whether the run goes from the last step to the first.
    """
    gaps = xs[..., -1].astype(accumulator(xs.dtype))
    if valid is None and not reverse:
        return xs
    if valid is None:
        later = jnp.pad(gaps, [(0, 1)] + [(0, 0)] * (gaps.ndim - 1))[1:]
        times = later if resets is None else silence(~resets, later)
    else:
        gaps = select(valid, gaps, jnp.where(jnp.isfinite(gaps), gaps, jnp.zeros_like(gaps)))
        times = silence(valid, _since_the_step_before(gaps, valid, resets, reverse=reverse))
    return jnp.concatenate([xs[..., :-1], times[..., None].astype(xs.dtype)], -1)


def _since_the_step_before(gaps: Array, valid: Array, resets: Array | None, *, reverse: bool) -> Array:
    """Sums the gaps of each step apart: differences of a running sum would lose digits over time."""

    def body(state: tuple[Array, Array], at_t: tuple[Array, Array, Array | None]) -> tuple[tuple[Array, Array], Array]:
        (waited, begun), (gap, valid, reset) = state, at_t
        if reset is not None:
            begun = begun & ~reset
        before = silence(begun, waited)  # steps before the first valid one are no part of the sequence
        after = before + gap
        if reverse:  # the gap of a step lies between it and the step that the loop takes next
            return (select(valid, gap, after), begun | valid), before
        return (silence(~valid, after), begun | valid), after

    start = jnp.zeros_like(gaps.sum(0)), jnp.zeros_like(valid.any(0))
    start = vary(start, varying((gaps, valid, resets)))
    return lax.scan(body, start, (gaps, valid, resets), reverse=reverse)[1]
