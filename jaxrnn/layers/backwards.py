"""A layer from the last valid step to the first: the one place where layers are turned round."""

from typing import Any

from jaxrnn.layers.rnn import as_layer, rnn
from jaxrnn.recurrence.loop import entries, flip, valid_steps
from jaxrnn.types import Array, Carry, Cell, Layer, Params


def backwards(where: str, cell: Any, *, name: str = "cell") -> Layer:
    """The layer that `cell` stands for, from the last valid step to the first: what `reverse=True` is to `unroll`.

    Outputs are aligned with inputs; padding and resets keep their meaning. It checks no steps: what calls it has.
    """
    if isinstance(cell, Cell):
        return rnn(cell, reverse=True)  # without a flip
    layer = as_layer(where, cell, name=name)

    def apply(
        params: Params,
        carry: Carry | None,
        xs: Array,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Carry, Array]:
        steps = {"mask": flip(valid_steps(lengths, mask, len(xs))), "resets": flip(entries(resets))}
        carry, ys = layer.apply(params, carry, flip(xs), **steps, key=key)
        return carry, flip(ys)

    return layer._replace(apply=apply, step=None, looks_ahead=("backwards",))
