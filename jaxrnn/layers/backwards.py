"""A layer from the last valid step to the first: the one place where layers are turned round."""

from typing import Any

from jaxrnn.layers.rnn import as_layer, rnn
from jaxrnn.recurrence.elapsed import with_elapsed
from jaxrnn.recurrence.loop import entries, flip, valid_steps
from jaxrnn.types import Array, Carry, Cell, Layer, Params


def backwards(where: str, cell: Any, *, name: str = "cell") -> Layer:
    """The layer that `cell` stands for, from the last valid step to the first: what `reverse=True` is to `unroll`.

    Outputs are aligned with inputs; padding, resets and times keep their meaning. It checks no steps: what calls it
    has.
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
        valid, resets = valid_steps(lengths, mask, xs.shape[0]), entries(resets)
        if layer.timed:  # what a step is given has to be the time since the one that comes before it once it is flipped
            xs = with_elapsed(xs, valid, resets, reverse=True)
        carry, ys = layer.apply(params, carry, flip(xs), mask=flip(valid), resets=flip(resets), key=key)
        return carry, flip(ys)

    return layer._replace(apply=apply, step=None, looks_ahead=("backwards",))
