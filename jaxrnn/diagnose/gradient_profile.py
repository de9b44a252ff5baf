"""`gradient_profile` measures how large the gradient of a loss is in the carry of each step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.diagnose.walk import Walk, after, batch_axes, by_layer, parted, start, walk
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import select, silence
from jaxrnn.types import Array, Carry, Cell, Layer, Params


@checked
def gradient_profile(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    loss: Callable[[Any], Array],
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    context: Any = None,
) -> Any:
    """Returns the norm of the loss's gradient in the carry that each step starts from, for each recurrent layer.

    Entry t is `‖∂ loss / ∂ carryₜ‖₂` over all floating numbers in the carry of one layer and one sequence, where step t
    leads from carryₜ to carryₜ₊₁ (Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural
    networks"). Entry 0 is that of the initial carry. Read backwards, from the loss to the first step, a profile that
    falls vanishes and one that grows explodes; a flat one does not prove that the model learns. In a stack, the
    gradient in the carry of one layer also comes through the layers above, which may remember for it. It costs one
    forward and one backward pass, which store each step's carry.

    Args:
      model: a `Cell`, or a causal `Layer` such as a `stack`.
      params: from `model.init`.
      xs: inputs `[T, *batch, D]`, as for `unroll`.
      loss: `ys -> scalar`, of all outputs `[T, *batch, H]`, as `unroll` returns them.
      carry: initial carry, leaves `[*batch, ...]`; `model.init_carry` if None.
      lengths: as for `unroll`. At an invalid step the carry holds, and so does the gradient.
      mask: as for `unroll`.
      resets: as for `unroll`. The step of a reset starts from the model's own initial carry.
      context: as for `unroll`.

    Returns:
      For a cell, an array `[T, *batch]` in the dtype of the carry. For a layer, its carry's tree with one such array in
      the place of each recurrent layer's carry: a tuple for a `stack`, with `()` for layers without a floating state.
      In float32, gradients below about 1e-38 are 0.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: `loss` does not return one floating number; the layer is not causal.

    Example:
      >>> import jax, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (50, 2, 3))
      >>> profile, nothing = jaxrnn.diagnose.gradient_profile(model, params, xs, lambda ys: ys[-1].sum())
      >>> profile.shape, bool((profile[0] < profile[-1]).all())
      ((50, 2), True)
    """
    where = "gradient_profile"
    run = walk(where, model, params, xs, carry, lengths=lengths, mask=mask, resets=resets, context=context)
    return profile_of(where, model, run, loss)[0]


def profile_of(where: str, model: Cell | Layer, run: Walk, loss: Callable[[Any], Array]) -> tuple[Any, Carry]:
    """Returns the profile, and the carry that each step starts from, after checking what `loss` returns."""
    starts, ys = _forward(model, run)
    checks.check_loss(where, jax.eval_shape(loss, ys))
    outputs, rebuilt = parted(ys)
    # Both loops are compiled once for all losses, which are often lambdas.
    return _backward(model, run, starts, jax.grad(lambda outputs: loss(rebuilt(outputs)))(outputs)), starts


@partial(jax.jit, static_argnames="model")
def _forward(model: Cell | Layer, run: Walk) -> tuple[Carry, Any]:
    """Returns the carry that each step starts from, and the outputs."""

    def body(carry: Carry, at_t: Any) -> tuple[Carry, Any]:
        x, valid, reset = at_t
        begun = start(model, run, carry, x, reset)
        carry, y = after(model, run, begun, x, valid)
        return carry, (begun, y)

    return jax.lax.scan(body, run.carry, (run.xs, run.valid, run.resets))[1]


@partial(jax.jit, static_argnames="model")
def _backward(model: Cell | Layer, run: Walk, starts: Carry, douts: list[Array]) -> Any:
    """Returns the norms, from the gradients of the outputs that have any."""
    axes = batch_axes(model, run.xs)

    def body(dcarry: list[Array], at_t: Any) -> tuple[list[Array], Any]:
        x, valid, reset, begun, dy = at_t
        state, rebuilt = parted(begun)

        def step(state: list[Array]) -> tuple[list[Array], list[Array]]:
            carry, y = after(model, run, rebuilt(state), x)
            return parted(carry)[0], parted(y)[0]

        (before,) = jax.vjp(step, state)[1]((dcarry, dy))
        # Not left to the derivative of the step, which may be NaN at the values of padding.
        before = before if valid is None else select(valid, before, dcarry)
        norms = by_layer(partial(_norm, axes=axes), rebuilt(before))
        return before if reset is None else silence(~reset, before), norms

    zeros = jax.tree.map(jnp.zeros_like, parted(run.carry)[0])
    inputs = (run.xs, run.valid, run.resets, starts, douts)
    return jax.lax.scan(body, zeros, inputs, reverse=True)[1]


def _norm(carry: Carry, axes: int) -> Array:
    """Returns the norm `[*batch]` of all floating numbers; squares of small ones would underflow without a scale."""
    rows = jnp.concatenate([jnp.abs(leaf).reshape(*leaf.shape[:axes], -1) for leaf in parted(carry)[0]], -1)
    largest = rows.max(-1, keepdims=True, initial=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return (scale * jnp.sqrt(jnp.square(rows / scale).sum(-1, keepdims=True)))[..., 0]
