"""`backwards` reverses a layer; no other code does."""

from jaxrnn.driver import run_layer
from jaxrnn.layers.layer import around
from jaxrnn.layers.rnn import rnn
from jaxrnn.options import checked
from jaxrnn.recurrence.elapsed import with_elapsed
from jaxrnn.recurrence.loop import beginnings, entries, flip
from jaxrnn.recurrence.split import part, turned
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps


@checked
def backwards(model: Cell | Layer) -> Layer:
    """Returns a layer that runs `model` from the last valid step to the first, as `reverse=True` does in `unroll`.

    Outputs are aligned with inputs; padding, resets and times keep their meaning. Where a stride makes fewer of them,
    the first one is that of the last valid step.
    """
    if isinstance(model, Cell):
        return rnn(model, reverse=True)  # it needs no flip

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array, Steps]:
        resets, split = entries(steps.resets, steps.split), turned(steps.split)
        if model.timed:  # a step needs the time since the previous step in the flipped order
            xs = with_elapsed(xs, steps.valid, resets, reverse=True)
        told = steps._replace(valid=flip(steps.valid), resets=flip(resets), split=split)
        if split is not None and steps.split is not None:
            told = told._replace(first=steps.first + (part(split) - part(steps.split)) * xs.shape[0])
        carry, ys, after = run_layer(model, params, carry, flip(xs), told)
        if after.valid is not told.valid or after.resets is not told.resets:
            steps = steps._replace(valid=flip(after.valid), resets=beginnings(flip(after.resets)))
        return carry, flip(ys), steps._replace(aux=after.aux)

    return around(model._replace(step=None, looks_ahead=()), "backwards", run, None)
