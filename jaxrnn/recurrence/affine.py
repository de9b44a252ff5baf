"""Three ways through `hₜ = aₜ hₜ₋₁ + bₜ`, elementwise: a loop, a tree, and chunks side by side."""

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

UNKNOWN = 32  # steps of a chunk where their number is a symbol: the square root of a thousand


class Steps(NamedTuple):
    """Steps `h -> a h + b` along a leading axis; or one of them, or several in one.

    Attributes:
      a: what multiplies; an axis of length 1 stands for one of `b`'s length.
      b: what is added.
      resets: bool, shaped like `a`; where True `a h` is 0 whatever `h` is, NaN included. None: nowhere.
    """

    a: Array
    b: Array
    resets: Array | None = None


def times(a: Any, h: Array, resets: Array | None = None) -> Array:
    """`a h`, and 0 at resets."""
    return a * h if resets is None else jnp.where(resets, 0, a * h)


def through(step: Steps, h: Array) -> Array:
    return times(step.a, h, step.resets) + step.b


def joined(first: Steps, second: Steps) -> Steps:
    """`first`, then `second`, as one step."""
    resets = None if first.resets is None or second.resets is None else first.resets | second.resets
    return Steps(times(second.a, first.a, second.resets), through(second, first.b), resets)


def loop(steps: Steps, h0: Array, *, reverse: bool, late: bool) -> Array:
    """One step after another. A multiplier that stays the same is not an input of the loop."""
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
    """Neighbours in pairs, then pairs of pairs; of an unknown number there are no pairs, but chunks."""
    return lax.associative_scan(joined, steps).b if is_known(steps.b.shape[0]) else chunks(steps)


def chunks(steps: Steps) -> Array:
    """A loop through `√T` chunks side by side, each from rest; a loop over their ends; what each began with, added."""
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
    """A way through steps that begin at zero, for any beginning, in both directions."""

    def whole(steps: Steps, h0: Array, *, reverse: bool, late: bool) -> Array:
        a, b = jnp.broadcast_to(steps.a, steps.b.shape), steps.b
        resets = None if steps.resets is None else jnp.broadcast_to(steps.resets, b.shape)
        if reverse:
            a, b, resets = flip((a, b, resets))
        if late:  # what multiplies at the end of a step does so at the beginning of the next one
            a = jnp.concatenate([jnp.ones_like(a[:1]), a[:-1]])
            resets = None if resets is None else jnp.concatenate([jnp.zeros_like(resets[:1]), resets[:-1]])
        first = jax.tree.map(lambda x: x[0], Steps(a, b, resets))
        hs = run(Steps(a, b.at[0].set(through(first, h0)), resets))
        return flip(hs) if reverse else hs

    return whole


WAYS: dict[str, Callable[..., Array]] = {"scan": loop, "associative": _from_rest(tree), "chunked": _from_rest(chunks)}
