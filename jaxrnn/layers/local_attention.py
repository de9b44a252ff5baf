"""`local_attention` attends to the last steps; its carry has their keys and values."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.recurrence.banded import banded, empty
from jaxrnn.recurrence.compact import Places, moved, places
from jaxrnn.recurrence.matrix import heads_of, merged
from jaxrnn.recurrence.ring import LocalAttentionCarry, advance, after_steps, in_order
from jaxrnn.recurrence.rotary import Rotary
from jaxrnn.recurrence.split import at_end, entering
from jaxrnn.recurrence.split_scans import window as window_before
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Layer, Params, Steps


@checked
def local_attention(
    heads: int,
    window: int,
    *,
    features: int | None = None,
    kv_heads: int | None = None,
    rotary_features: int | None = None,
    base: float = 10_000.0,
    use_bias: bool = False,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer of causal self-attention to a sliding window, with rotary positions.

    `yₜ = W_o Σₛ softmaxₛ(R(t) qₜ · R(s) kₛ / √K) vₛ` over `t − window < s ≤ t`, per head, with `qₜ, kₜ, vₜ = W xₜ`,
    each with its own weights (Vaswani et al. 2017, "Attention is all you need"; with a window Beltagy et al. 2020,
    "Longformer: the long-document transformer"; among recurrences De et al. 2024, "Griffin: mixing gated linear
    recurrences with local attention for efficient language models"). `R(t)` rotates the `i`-th pair of features by
    `t / base^(2 i / K)` (Su et al. 2021, "RoFormer: enhanced transformer with rotary position embedding"), so that a
    product depends on the distance `t − s`. Time and memory grow as `T × window`.

    The window has the last valid inputs of the sequence: it skips invalid steps, and a reset empties it.

    Args:
      heads: the number of heads, a divisor of `features`.
      window: the number of steps that an output sees, including the current one.
      features: H, the width of the output; None: the width of the input. A head has `K = H / heads` features.
      kv_heads: the number of heads of keys and values, a divisor of `heads`; None: `heads`. With 1 all queries share
        them (Shazeer 2019, "Fast transformer decoding: one write-head is all you need").
      rotary_features: how many of the first features of a head are rotated, an even number; None: all K, an even
        number then.
      base: of the angles; it is larger than 1.
      use_bias: whether the output has a bias.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: promoted from inputs and parameters. Softmax and carry are float32 at least.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step` and carry `LocalAttentionCarry(keys, values, position)`. Its parameters are
      `query [D, heads, K]`, `key` and `value [D, kv_heads, K]`, `out [heads, K, H]`, and `out_bias [H]` with
      `use_bias`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features`, or `kv_heads` `heads`; K is odd;
        `rotary_features` is odd or more than K; `base` is not more than 1. Where `features` is None, `init` raises it.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.local_attention(2, 4)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 3, 8)))
      >>> ys.shape, carry[1].keys.shape, carry[1].position.tolist()
      ((5, 3, 8), (3, 2, 4, 4), [5, 5, 5])
    """
    groups = heads if kv_heads is None else kv_heads
    if heads % groups:
        raise ValueError(f"local_attention: kv_heads is {kv_heads}, expected a divisor of heads, {heads}")
    if rotary_features is not None and rotary_features % 2:
        raise ValueError(f"local_attention: rotary_features is {rotary_features}, expected an even number")
    if base <= 1:
        raise ValueError(f"local_attention: base is {base}, expected a number above 1")
    if features is not None:
        _check_width(features, heads, rotary_features, "features")

    def init(key: Array, in_features: int) -> Params:
        if features is None:
            _check_width(in_features, heads, rotary_features, "in_features")
        width = in_features if features is None else features
        names, counts = ("query", "key", "value"), (heads, groups, groups)
        *k_heads, k_out = jax.random.split(key, 4)
        draw = partial(initializers.per_gate, kernel_init, dtype=param_dtype)
        params = {
            name: draw(k, in_features, count, width // heads)
            for name, k, count in zip(names, k_heads, counts, strict=True)
        }
        out = kernel_init(k_out, (width, width), accumulator(param_dtype)).astype(param_dtype)
        params["out"] = out.reshape(heads, width // heads, width)
        return params | ({"out_bias": jnp.zeros(width, param_dtype)} if use_bias else {})

    def rotary_of(params: Params) -> Rotary:
        return Rotary(params["key"].shape[-1] if rotary_features is None else rotary_features, base)

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> LocalAttentionCarry:
        shape, wide = (*batch_shape, groups, window, params["key"].shape[-1]), kept_dtype(params)
        return LocalAttentionCarry(zeros(shape, wide), zeros(shape, wide), zeros(batch_shape, jnp.int32))

    def kept_dtype(params: Params) -> Any:
        return accumulator(compute_dtype(dtype, *params.values()))

    def projected(params: Params, xs: Array, compute: Any) -> tuple[Array, Array, Array]:
        """Returns queries `[..., groups, heads / groups, K]`, keys and values `[..., groups, K]`."""
        q, k, v = (heads_of(xs.astype(compute), params[name]) for name in ("query", "key", "value"))
        return q.reshape(*k.shape[:-1], heads // groups, k.shape[-1]), k, v

    def outputs(params: Params, ys: Array, compute: Any) -> Array:
        ys = merged(lax.collapse(ys, -3, -1), params["out"], compute)
        return (ys + align(params["out_bias"].astype(ys.dtype), ys) if use_bias else ys).astype(compute)

    def run(
        params: Params, carry: LocalAttentionCarry | None, xs: Array, steps: Steps
    ) -> tuple[LocalAttentionCarry, Array]:
        compute, rotary = compute_dtype(dtype, xs, *params.values()), rotary_of(params)
        if xs.shape[0] == 0:
            carry = init_carry(params, xs.shape[1:-1]) if carry is None else carry
            return carry, jnp.zeros((*xs.shape[:-1], params["out"].shape[-1]), compute)
        at = None if steps.valid is None else places(steps.valid)
        xs = xs if at is None else moved(xs, at.order)
        q, k, v = projected(params, xs, compute)
        earlier = None if carry is None else in_order(carry, rotary)
        if carry is None:  # as `init_carry`, but on the devices of the inputs
            none = empty(k[0], window, kept_dtype(params))
            carry = LocalAttentionCarry(none, none, jnp.zeros_like(k[0, ..., 0, 0], jnp.int32))
        if steps.split is not None:
            carry, earlier = _before_part(carry, k, v, steps, at, rotary)
        before, position = _positions(carry.position, steps.resets, at, xs.shape[0])
        back = jnp.minimum(before, window - 1)
        ys = banded(q, k, v, earlier, back, window=window, rotary=rotary, dtype=compute)
        length = jnp.full_like(position, xs.shape[0]) if at is None else at.length
        carry = after_steps(carry, k, v, length=length, position=position, rotary=rotary)
        ys = outputs(params, ys, compute)
        return at_end(steps.split, carry), ys if at is None else moved(ys, at.rank)

    def step(params: Params, carry: LocalAttentionCarry, x: Array) -> tuple[LocalAttentionCarry, Array]:
        compute = compute_dtype(dtype, x, *params.values())
        carry, y = advance(carry, *projected(params, x, compute), rotary=rotary_of(params), dtype=compute)
        return carry, outputs(params, y, compute)

    return layer("local_attention", init, run, step, init_carry, takes_none=True, splits=True)


def _before_part(
    carry: LocalAttentionCarry, k: Array, v: Array, steps: Steps, at: Places | None, rotary: Rotary
) -> tuple[LocalAttentionCarry, tuple[Array, Array]]:
    """Returns the carry before this part, and its keys and values in order; `carry` is that of the whole sequence."""
    split, total, size = steps.split, k.shape[0], carry.keys.shape[-2]
    assert split is not None  # or the carry is the one before these steps
    length = jnp.full_like(carry.position, total) if at is None else at.length

    steps_back = jnp.expand_dims(jnp.arange(-size, 0, dtype=length.dtype), tuple(range(1, 1 + length.ndim)))
    index = length[None] + steps_back  # of the last steps of this part, negative where it has too few

    def before(start: Array, x: Array) -> Array:
        last = jnp.where((index >= 0)[..., None, None], moved(x, jnp.maximum(index, 0)), 0).astype(start.dtype)
        return window_before(split, start, jnp.moveaxis(last, 0, -2), length, total, all_valid=at is None)

    keys, values = (before(start, x) for start, x in zip(in_order(carry, rotary), (k, v), strict=True))
    _, after = _positions(jnp.zeros_like(length), steps.resets, at, total)
    begins = jnp.zeros_like(length, bool) if steps.resets is None else steps.resets.any(0)

    def advance(position: Array, summary: tuple[Array, Array]) -> Array:
        after, begins = summary
        return jnp.where(begins, after, position + after)

    position = entering(split, advance, carry.position, (after, begins))
    nothing, latest = jax.tree.map(jnp.zeros_like, carry), (jnp.moveaxis(x, -2, 0) for x in (keys, values))
    length = jnp.full_like(position, size)
    return after_steps(nothing, *latest, length=length, position=position, rotary=rotary), (keys, values)


def _positions(start: Array, resets: Array | None, at: Places | None, total: int) -> tuple[Array, Array]:
    """Returns the position of each step in its sequence, in the order of `at`, and the one of the step after the last.

    The sequence of the first step is at position `start [*batch]`.
    """
    steps = jnp.arange(total, dtype=start.dtype)
    rank = jnp.expand_dims(steps, tuple(range(1, 1 + start.ndim))) if at is None else at.rank
    begins = start[None]  # is added to the rank of a step
    if resets is not None:
        begun = lax.cummax(jnp.where(resets, rank, -1))
        begins = jnp.where(begun >= 0, -begun, begins)
    positions = jnp.broadcast_to(rank + begins, (total, *start.shape))
    after = begins[-1] + (total if at is None else at.length)
    return positions if at is None else moved(positions, at.order), after


def _check_width(width: int, heads: int, rotary_features: int | None, name: str) -> None:
    """Checks that a width can be divided among the heads, and that as many features of a head can be rotated."""
    if width % heads:
        raise ValueError(f"local_attention: heads is {heads}, expected a divisor of {name}, {width}")
    rotated = width // heads if rotary_features is None else rotary_features
    if rotated % 2 and rotary_features is None:
        raise ValueError(
            f"local_attention: a head has {width // heads} features, {name} {width} of {heads} heads, expected an even "
            "number; rotary_features says how many of them are rotated"
        )
    if rotated > width // heads:
        raise ValueError(
            f"local_attention: rotary_features is {rotary_features}, expected at most the features of a head, "
            f"{width // heads}"
        )
