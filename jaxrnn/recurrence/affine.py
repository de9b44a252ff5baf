"""Runs `hₜ = aₜ hₜ₋₁ + bₜ`, elementwise, in three ways: as a loop, as a tree, and in parallel chunks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.loop import flip
from jaxrnn.sharding import vary, varying
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

UNKNOWN = 32  # steps of a chunk where T is a symbol: about √1000


class Steps(NamedTuple):
    """Steps `h -> a h + b` along a leading axis, or one step, which may compose several.

    Attributes:
      a: the multiplier; an axis of length 1 is broadcast to that of `b`.
      b: the additive term.
      resets: bool, shaped like `a`; where True `a h` is 0 whatever `h` is, NaN included. None: nowhere.
    """

    a: Array
    b: Array
    resets: Array | None = None


def times(a: Any, h: Array, resets: Array | None = None) -> Array:
    """Returns `a h`, and 0 at resets."""
    return a * h if resets is None else jnp.where(resets, 0, a * h)


def through(step: Steps, h: Array) -> Array:
    return times(step.a, h, step.resets) + step.b


def joined(first: Steps, second: Steps) -> Steps:
    """Returns the step that does `first`, then `second`."""
    resets = None if first.resets is None or second.resets is None else first.resets | second.resets
    return Steps(times(second.a, first.a, second.resets), through(second, first.b), resets)


def loop(steps: Steps, h0: Array, *, reverse: bool, late: bool) -> Array:
    """Runs one step after another; a constant multiplier is no input of the loop."""
    same = steps.a[0] if steps.a.shape[0] == 1 else None

    def body(h: Array, at_t: Any) -> tuple[Array, Array]:
        each, b, resets = at_t
        a = each if same is None else same
        if late:
            h = h + b
            return times(a, h, resets), h
        h = times(a, h, resets) + b
        return h, h

    return lax.scan(body, h0, (steps.a if same is None else None, steps.b, steps.resets), reverse=reverse)[1]


def tree(steps: Steps) -> Array:
    """Runs an associative scan; in chunks if T is a symbol, which has no pairs of neighbours."""
    return lax.associative_scan(joined, steps).b if is_known(steps.b.shape[0]) else chunks(steps)


def chunks(steps: Steps) -> Array:
    """Loops through `√T` chunks in parallel from zero, then over their ends, then adds each chunk's initial state."""
    total = steps.b.shape[0]
    length = math.isqrt(total - 1) + 1 if is_known(total) else UNKNOWN
    count = -(-total // length)

    def split(x: Array) -> Array:
        padded = jnp.pad(x, [(0, count * length - total)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(count, length, *x.shape[1:]).swapaxes(0, 1)

    def further(before: Steps, step: Steps) -> tuple[Steps, Steps]:
        both = joined(before, step)
        return both, both

    def over(h: Array, chunk: Steps) -> tuple[Array, Array]:
        return through(chunk, h), h

    parts = jax.tree.map(split, steps)
    rest = jax.tree.map(lambda x: jnp.zeros_like(x[0]), parts)
    rest = vary(rest._replace(a=jnp.ones_like(rest.a)), varying(parts))
    whole, inside = lax.scan(further, rest, parts)
    starts = lax.scan(over, rest.b[0], whole)[1]
    hs = through(inside, starts[None])
    return hs.swapaxes(0, 1).reshape(count * length, *hs.shape[2:])[:total]


def _from_rest(run: Callable[[Steps], Array]) -> Callable[..., Array]:
    """Extends a `run` that starts at zero to any initial state and both directions."""

    def whole(steps: Steps, h0: Array, *, reverse: bool, late: bool) -> Array:
        a, b = jnp.broadcast_to(steps.a, steps.b.shape), steps.b
        resets = None if steps.resets is None else jnp.broadcast_to(steps.resets, b.shape)
        if reverse:
            a, b, resets = flip((a, b, resets))
        if late:  # the multiplier at the end of a step is the one at the start of the next
            a = jnp.concatenate([jnp.ones_like(a[:1]), a[:-1]])
            resets = None if resets is None else jnp.concatenate([jnp.zeros_like(resets[:1]), resets[:-1]])
        first = jax.tree.map(lambda x: x[0], Steps(a, b, resets))
        hs = run(Steps(a, b.at[0].set(through(first, h0)), resets))
        return flip(hs) if reverse else hs

    return whole


WAYS: dict[str, Callable[..., Array]] = {"scan": loop, "associative": _from_rest(tree), "chunked": _from_rest(chunks)}
