"""Says why the numbers of a run are not finite: at which step of the text, in which layer, and in which array."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from jaxrnn.cli.model import CHUNK, cross_entropy
from jaxrnn.diagnose.nonfinite import first_nonfinite
from jaxrnn.train import State
from jaxrnn.types import Array, Layer, Params
from jaxrnn.unroll import unroll

HIDDEN = "no layer shows where, when it is run alone"


def of_step(layer: Layer, before: State, after: State, window: np.ndarray, key: Array) -> str:
    """Returns the cause of a training step that failed.

    Args:
      layer: the model.
      before: the state before the step; its optimizer's state is not read.
      after: the state after it.
      window: the characters of the step.
      key: of the step.
    """
    inputs, loss = jnp.asarray(window[:-1]), partial(cross_entropy, characters=jnp.asarray(window[1:]))
    found = first_nonfinite(layer, before.params, inputs, before.carry, key=key, loss=loss)
    if found is not None:
        return f"in its window, {found}" if found.step is not None else str(found)
    updated = first_nonfinite(layer, after.params, inputs)  # its parameters come first
    return HIDDEN if updated is None else f"the gradient is finite, but after the update {updated}"


def of_text(layer: Layer, params: Params, ids: np.ndarray) -> str:
    """Returns the cause of a loss that is not finite on a text, which is looked at in parts, as it is scored."""
    carry = None
    for begin in range(0, len(ids) - 1, CHUNK):
        characters = jnp.asarray(ids[begin : begin + CHUNK + 1, None])
        inputs, loss = characters[:-1], partial(cross_entropy, characters=characters[1:])
        if found := first_nonfinite(layer, params, inputs, carry, loss=loss):
            return f"in the characters from {begin:,} on, {found}"
        carry, _ = unroll(layer, params, inputs, carry)
    return HIDDEN
