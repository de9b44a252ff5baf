"""Attends from each step to a window of steps, in blocks.

A block of queries meets the keys of its own steps and of the window before them; a gradient recomputes the scores of a
block. `jax.nn.dot_product_attention` has no such form: with `local_window_size` it masks the scores of all pairs of
steps, unless cuDNN is asked for by name, which takes half precision alone and no packed sequences. And its softmax is
in float32 whatever its inputs are.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.precision import einsum
from jaxrnn.recurrence.rotary import Rotary, rotated, turns
from jaxrnn.shapes import align
from jaxrnn.sharding import vary, varying
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

# A block has half a window of steps, within these bounds: on 2 cores longer ones compute too many scores that the mask
# drops, and shorter ones make matrices too small.
SHORTEST, LONGEST = 32, 128
# A sequence of up to so many steps that begins with them, and is no longer than the window, is one block: its scores
# are few enough to be stored for a gradient.
WHOLE = 256


def banded(
    q: Array,
    k: Array,
    v: Array,
    earlier: tuple[Array, Array] | None,
    back: Array,
    *,
    window: int,
    rotary: Rotary,
    dtype: Any,
) -> Array:
    """Returns `Σⱼ softmax(qᵢ kⱼ / √K) vⱼ` over the steps `i − back ≤ j ≤ i`, after a rotation of `q` and `k`.

    A step whose key or value is not finite makes outputs NaN where it is seen, and has no influence elsewhere, where
    its weight of 0 would make them NaN, too.

    Args:
      q: queries `[T, *batch, groups, queries, K]`; those of a group share its key and its value.
      k: keys `[T, *batch, groups, K]`.
      v: values, like `k`.
      earlier: the keys and the values of the window before the first step, `[*batch, groups, window, K]` each; None:
        the sequence begins with it.
      back: int `[T, *batch]`, the steps before each step that it sees, less than the window.
      window: more than any `back`.
      rotary: of queries and keys.
      dtype: of the inputs of products.

    Returns:
      `[T, *batch, groups, queries, K]`, in float32 at least.
    """
    total = q.shape[0]
    whole = earlier is None and is_known(total) and total <= min(window, WHOLE)
    if earlier is None:
        kept = 0 if whole else min(window, total) if is_known(total) else window
        earlier = empty(k[0], kept, k.dtype), empty(v[0], kept, v.dtype)
    kept = earlier[0].shape[-2]
    size = total if whole else min(max(window // 2, SHORTEST), LONGEST)
    size = min(size, total) if is_known(total) else size
    count = -(-total // size)

    def blocks(x: Array, to: int) -> Array:
        """Splits time in two, and moves the steps of a block to axis `to`."""
        padded = jnp.pad(x, [(0, count * size - total)] + [(0, 0)] * (x.ndim - 1))
        return jnp.moveaxis(padded.reshape(count, size, *x.shape[1:]), 1, to)

    steps = jnp.arange(kept + size, dtype=back.dtype)
    turn_keys, turn_queries = turns(rotary, steps, k.dtype), turns(rotary, steps[kept:], q.dtype)

    def block(earlier: tuple[Array, Array], block: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        q, k, v, back = block
        keys, values = jnp.concatenate([earlier[0], k], -2), jnp.concatenate([earlier[1], v], -2)
        apart = align(steps[kept:, None] - steps[None], back[..., None])
        seen = (apart >= 0) & (apart <= back[..., None])
        sound = (jnp.isfinite(keys) & jnp.isfinite(values)).all((-1, -3))[..., None, :]
        k, v = (jnp.where(sound[..., None], x, 0) for x in (keys, values))
        s = scores(rotated(q, turn_queries), rotated(k, turn_keys), dtype)
        y = read(s, seen[..., None, None, :, :], v, dtype)
        broken = (seen & ~sound).any(-1)
        y = jnp.where(broken[..., None, None, :, None], jnp.nan, y)
        return (keys[..., size:, :], values[..., size:, :]), y

    inputs = (blocks(q, -2), blocks(k, -2), blocks(v, -2), blocks(back, -1))
    earlier = vary(earlier, varying((earlier, inputs)))
    body = block if whole else jax.checkpoint(block, prevent_cse=False)
    _, ys = lax.scan(body, earlier, inputs)
    return jnp.moveaxis(ys, -2, 1).reshape(count * size, *q.shape[1:])[:total]


def empty(like: Array, window: int, dtype: Any) -> Array:
    """Returns zeros `[*batch, groups, window, K]`, which lie on devices as `like [*batch, groups, K]` does."""
    place = jnp.zeros_like(like, dtype)[..., None, :]
    return jnp.broadcast_to(place, (*like.shape[:-1], window, like.shape[-1]))


def scores(q: Array, k: Array, dtype: Any) -> Array:
    """Returns `q kᵀ / √K` of queries `[..., groups, queries, Q, K]` and keys `[..., groups, S, K]`."""
    # One axis for all queries of a group spares XLA copies.
    made = einsum("...qk,...sk->...qs", lax.collapse(q, -3, -1), k, dtype)
    return made.reshape(*q.shape[:-1], k.shape[-2]) * q.shape[-1] ** -0.5


def read(scores: Array, seen: Array, v: Array, dtype: Any) -> Array:
    """Returns `softmax(scores) v` over the steps that are seen, for values `[..., groups, S, K]`."""
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
    made = einsum("...qs,...sk->...qk", lax.collapse(weights, -3, -1), v, dtype)
    return made.reshape(*weights.shape[:-1], v.shape[-1])
