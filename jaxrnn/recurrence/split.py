"""Exchanges between devices that each have one part of the time axis, inside `jax.shard_map`.

Parts are numbered in the direction of travel: with `split.backwards` the last device has part 0. No exchange has an
array with a time axis, so that its bytes do not depend on the number of steps.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.sharding import vary, varying
from jaxrnn.types import Array, Carry, Split


def turned(split: Split | None) -> Split | None:
    """Returns the split of the same steps in the other direction."""
    return None if split is None else split._replace(backwards=not split.backwards)


def part(split: Split) -> Array:
    """Returns the number of this device's part."""
    index = lax.axis_index(split.axis_name)
    return lax.axis_size(split.axis_name) - 1 - index if split.backwards else index


def from_next(split: Split, x: Array) -> Array:
    """Returns the `x` of the next part; zeros in the last one."""
    return _shifted(split, x, -1)


def from_previous(split: Split, x: Array, first: Array) -> Array:
    """Returns the `x` of the previous part, and `first` in part 0."""
    return jnp.where(part(split) == 0, first, _shifted(split, x, 1))


def _shifted(split: Split, x: Array, by: int) -> Array:
    size, step = lax.axis_size(split.axis_name), -by if split.backwards else by
    pairs = [(i, i + step) for i in range(size) if 0 <= i + step < size]
    return lax.ppermute(vary(x, frozenset([split.axis_name])), split.axis_name, pairs)


def entering(split: Split, advance: Callable[[Carry, Any], Carry], start: Carry, summary: Any) -> Carry:
    """Returns the carry before this part: `advance(carry, summary)` over the parts before it, from `start` on.

    Every device gathers the summaries of all, in one collective an array.
    """

    def gathered(x: Array) -> Array:
        parts = lax.all_gather(vary(x, frozenset([split.axis_name])), split.axis_name)
        return jnp.flip(parts, 0) if split.backwards else parts

    here = part(split)

    def over(carry: Carry, at: tuple[Array, Any]) -> tuple[Carry, None]:
        number, one = at
        return jax.tree.map(lambda new, old: jnp.where(number < here, new, old), advance(carry, one), carry), None

    summaries = jax.tree.map(gathered, summary)
    numbers = jnp.arange(lax.axis_size(split.axis_name), dtype=here.dtype)
    start = vary(start, varying((start, summaries, here)))
    return lax.scan(over, start, (numbers, summaries))[0]


def at_end(split: Split | None, tree: Any) -> Any:
    """Returns the arrays of the last part, the same on every device."""
    if split is None:
        return tree
    is_last = part(split) == lax.axis_size(split.axis_name) - 1

    def leaf(x: Array) -> Array:
        mine = jnp.where(is_last, x, jnp.zeros_like(x))
        if x.dtype == bool:  # which has no sum
            return lax.psum(mine.astype(jnp.int8), split.axis_name) > 0
        return lax.psum(mine, split.axis_name)

    return jax.tree.map(leaf, tree)
