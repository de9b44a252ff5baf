"""The call conventions of Flax's `RNN` (batch-major, `seq_lengths`, flipped order) on top of `Layer.apply`."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import checks, trees
from jaxrnn.layers.backwards import backwards
from jaxrnn.layers.rnn import as_layer
from jaxrnn.recurrence.loop import flip
from jaxrnn.types import Array, Carry, Cell, Layer, Params


class Flags(NamedTuple):
    """What the attributes of an `RNN` module say and its caller may override; None leaves it to the module.

    Attributes:
      time_major: whether inputs and outputs are `[T, *batch, ...]` instead of `[*batch, T, ...]`.
      return_carry: whether to return `(carry, outputs)` instead of the outputs alone.
      reverse: whether to run from the last valid step to the first, with the outputs in that order.
      keep_order: whether the outputs of a reversed run are aligned with the inputs all the same.
      deterministic: whether nothing is drawn.
    """

    time_major: bool | None
    return_carry: bool | None
    reverse: bool | None
    keep_order: bool | None
    deterministic: bool | None

    def over(self, module: Any) -> "Flags":
        """These flags, with the attributes of `module` in the place of None."""
        own = (getattr(module, name) for name in self._fields)
        return Flags(*(o if flag is None else flag for flag, o in zip(self, own, strict=True)))

    def checked(self, where: str) -> "Flags":
        """These flags, each of which is True or False."""
        for name, flag in zip(self._fields, self, strict=True):
            checks.check_bool(where, name, flag)
        return self


def inputs_of(where: str, layer: Layer, inputs: Any, flags: Flags) -> Array:
    """`inputs` as an array, checked to be floating and to have an axis of time and the axes of a step."""
    return checks.xs_of(where, inputs, name="inputs", layout=_layout(flags), features=layer.num_feature_axes)


def apply(
    where: str,
    cell: Cell | Layer,
    params: Params,
    inputs: Array,
    initial_carry: Carry | None,
    flags: Flags,
    *,
    seq_lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    key: Array | None = None,
) -> Any:
    """Runs `cell` over `inputs` as `flags` say.

    Args:
      where: the caller's name, for errors.
      cell: what to run.
      params: from its `init`.
      inputs: from `inputs_of`.
      initial_carry: leaves `[*batch, ...]`; the cell's own if None.
      flags: all of them set.
      seq_lengths: int `[*batch]`, or None.
      mask: bool, `inputs` without the axes of a step, or None.
      resets: bool, likewise.
      key: for layers that draw; None means deterministic.

    Returns:
      The outputs, or `(carry, outputs)`.
    """
    layer, features = as_layer(where, cell), cell.num_feature_axes
    axis = 0 if flags.time_major else inputs.ndim - 1 - features
    xs = jnp.moveaxis(inputs, axis, 0)
    because = f"inputs of shape {inputs.shape} = {_layout(flags)}"
    trees.check_params(where, layer, params, xs.shape[-1], because)
    _check_carry(where, layer, params, initial_carry, xs.shape[1:-1], because)
    _check_steps(where, seq_lengths, mask, resets, xs.shape[1:-features], inputs.shape[:-features], because)
    mask, resets = (None if steps is None else jnp.moveaxis(jnp.asarray(steps), axis, 0) for steps in (mask, resets))

    run = backwards(where, cell) if flags.reverse else layer
    carry, ys = run.apply(params, initial_carry, xs, lengths=seq_lengths, mask=mask, resets=resets, key=key)
    if flags.reverse and not flags.keep_order:
        ys = flip(ys)
        if seq_lengths is not None:
            ys = jax.tree.map(partial(_padding_last, lengths=seq_lengths), ys)
    outputs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, axis), ys)
    return (carry, outputs) if flags.return_carry else outputs


def _layout(flags: Flags) -> str:
    return "[T, *batch, D]" if flags.time_major else "[*batch, T, D]"


def _check_carry(where: str, layer: Layer, params: Params, carry: Any, batch: tuple[int, ...], because: str) -> None:
    if carry is not None:
        own = jax.eval_shape(lambda params: layer.init_carry(params, batch), params)
        trees.check_tree(where, "initial_carry", carry, own, because, may_be_complex=True)


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


def _padding_last(ys: Array, lengths: Any) -> Array:
    """`ys` whose rows begin with their padding, rolled so that they end with it."""
    total = ys.shape[0]
    padding = total - jnp.clip(jnp.asarray(lengths), 0, total)
    index = (jnp.arange(total).reshape(-1, *[1] * padding.ndim) + padding[None]) % total
    return jnp.take_along_axis(ys, index.reshape(index.shape + (1,) * (ys.ndim - index.ndim)), axis=0)
