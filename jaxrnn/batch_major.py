"""Adapts `jaxrnn.unroll` to the call conventions of Flax's `RNN`: batch-major, `seq_lengths`, flipped order."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import checks, driver, trees
from jaxrnn.driver import Options, batch_of
from jaxrnn.initial_carry import initial_carry
from jaxrnn.layers.backwards import backwards
from jaxrnn.recurrence.loop import flip
from jaxrnn.types import Array, Carry, Cell, Layer, Params
from jaxrnn.unroll import check_options


class Flags(NamedTuple):
    """The attributes of an `RNN` module that a call may override; None is the module's.

    Attributes:
      time_major: whether inputs and outputs are `[T, *batch, ...]` instead of `[*batch, T, ...]`.
      return_carry: whether to return `(carry, outputs)` instead of the outputs alone.
      reverse: whether to run from the last valid step to the first, with the outputs in that order.
      keep_order: whether the outputs of a reversed run are aligned with the inputs.
      deterministic: whether nothing is drawn.
    """

    time_major: bool | None
    return_carry: bool | None
    reverse: bool | None
    keep_order: bool | None
    deterministic: bool | None

    def over(self, module: Any) -> "Flags":
        """Returns these flags, with the attributes of `module` in place of None."""
        own = (getattr(module, name) for name in self._fields)
        return Flags(*(o if flag is None else flag for flag, o in zip(self, own, strict=True)))

    def checked(self, where: str) -> "Flags":
        """Returns these flags after checking that each is True or False."""
        for name, flag in zip(self._fields, self, strict=True):
            checks.check_bool(where, name, flag)
        return self


def inputs_of(where: str, model: Cell | Layer, inputs: Any, flags: Flags) -> Array:
    """Returns `inputs` as an array after checking its axes and dtype."""
    return checks.inputs_of(where, inputs, model.num_feature_axes, name="inputs", layout=_layout(flags))


def run(
    where: str,
    model: Cell | Layer,
    params: Params,
    inputs: Array,
    initial_carry: Carry | None,
    flags: Flags,
    *,
    seq_lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    key: Array | None = None,
    context: Any = None,
    unroll: int | None = None,
    keep: Callable[[str, Array], Any],
) -> Any:
    """Runs `model` over `inputs` with these flags.

    Args:
      where: the caller's name, for errors.
      model: a cell or a layer.
      params: from its `init`.
      inputs: from `inputs_of`.
      initial_carry: leaves `[*batch, ...]`; the model's own if None.
      flags: all of them set.
      seq_lengths: int `[*batch]`, or None.
      mask: bool, with the axes of `inputs` except those of a step, or None.
      resets: bool, with the axes of `mask`, or None.
      key: for layers that draw; None means deterministic.
      context: for layers that attend.
      unroll: of a cell, as `jaxrnn.unroll` has it.
      keep: is called with the name and value of each cost that a layer adds.

    Returns:
      The outputs, or `(carry, outputs)`.
    """
    features = model.num_feature_axes
    axis = 0 if flags.time_major else inputs.ndim - 1 - features
    xs = jnp.moveaxis(inputs, axis, 0)
    because = f"inputs of shape {inputs.shape} = {_layout(flags)}"
    trees.check_params(where, model, params, xs, because)
    if initial_carry is not None:
        trees.check_carry(where, model, params, initial_carry, batch_of(model, xs)[1:], because, name="initial_carry")
    at = xs.ndim - features
    _check_steps(where, seq_lengths, mask, resets, xs.shape[1:at], inputs.shape[:at], because)
    trees.check_context(where, model, context)
    mask, resets = (None if steps is None else jnp.moveaxis(jnp.asarray(steps), axis, 0) for steps in (mask, resets))

    how = Options(reverse=bool(flags.reverse) and isinstance(model, Cell), unroll=unroll)
    check_options(where, model, how)
    directed = backwards(model) if flags.reverse and isinstance(model, Layer) else model
    carry, ys, valid, aux = driver.run(
        directed, how, params, initial_carry, xs, seq_lengths, mask, resets, key, context
    )
    for name, value in aux.items():
        keep(name, value)
    if flags.reverse and not flags.keep_order:
        ys, valid = flip(ys), flip(valid)
    if flags.reverse and seq_lengths is not None and (not flags.keep_order or valid.shape[0] != xs.shape[0]):
        ys = jax.tree.map(partial(_padding_last, valid=valid), ys)
    outputs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, axis), ys)
    return (carry, outputs) if flags.return_carry else outputs


def first_carry(where: str, model: Cell | Layer, params: Params | None, input_shape: tuple[int, ...]) -> Carry:
    """Returns the carry before inputs `[*batch, D]`, or token ids `[*batch]`; a learned one needs the parameters."""
    checks.check_batch_shape(where, input_shape)
    tokens = model.num_feature_axes == 0
    batch = tuple(input_shape) if tokens else tuple(input_shape[:-1])
    if not tokens and not input_shape:
        raise checks.ShapeError(f"{where}: input_shape is (), expected (*batch, D)")
    return (
        model.init_carry(params, batch) if params else initial_carry(model, None if tokens else input_shape[-1], batch)
    )


def _layout(flags: Flags) -> str:
    return "[T, *batch, D]" if flags.time_major else "[*batch, T, D]"


def _check_steps(
    where: str, lengths: Any, mask: Any, resets: Any, batch: tuple[int, ...], steps: tuple[int, ...], because: str
) -> None:
    if lengths is not None and mask is not None:
        raise ValueError(
            f"{where}: seq_lengths and mask are both given, expected at most one; put the lengths into the mask"
        )
    if lengths is not None:
        checks.check_lengths(where, lengths, batch, because, name="seq_lengths")
    for name, flags in (("mask", mask), ("resets", resets)):
        if flags is not None:
            checks.check_flags(where, name, flags, steps, because)


def _padding_last(ys: Array, valid: Array) -> Array:
    """Rolls `ys`, in which padding is before each sequence, so that it comes after it."""
    total = ys.shape[0]
    if total == 0:
        return ys
    padding = jnp.argmax(valid, 0)
    index = (jnp.arange(total).reshape(-1, *[1] * padding.ndim) + padding[None]) % total
    return jnp.take_along_axis(ys, index.reshape(index.shape + (1,) * (ys.ndim - index.ndim)), axis=0)
