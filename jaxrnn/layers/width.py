"""Infers the width of a layer's output, so that no layer needs it as an argument, and whether it has all steps."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.driver import Options, run_cell, run_layer
from jaxrnn.recurrence.followed import input_shape
from jaxrnn.types import Array, Cell, Layer, Params, Steps

STEPS = 2  # of the input: any stride makes fewer


def width(where: str, name: str, layer: Layer, params: Params, in_features: int | None) -> int:
    """Returns the width of the output of `layer` for `in_features`, without computing any."""
    return width_of(where, name, _output(layer, params, in_features))


def aligned_width(where: str, name: str, layer: Layer, params: Params, in_features: int | None) -> int:
    """Returns the width of the output of `layer`, which has to have a step for each one of its input."""
    ys = _output(layer, params, in_features)
    found = width_of(where, name, ys)
    if ys.shape[0] != STEPS:
        raise checks.ShapeError(
            f"{where}: {name} gives {ys.shape[0]} steps for {STEPS}, expected equally many; a layer with a stride has "
            f"to stand before it: stack(conv(…), {where}(…))"
        )
    return found


def _output(layer: Layer, params: Params, in_features: int | None) -> Any:
    dtype = jnp.int32 if in_features is None else jnp.float32
    xs = jax.ShapeDtypeStruct((STEPS, *input_shape(layer, in_features)), dtype)

    def outputs(params: Params, xs: Array, context: Any) -> Any:
        return run_layer(layer, params, None, xs, Steps(context=context))[1]

    return jax.eval_shape(outputs, params, xs, layer.context)


def width_of(where: str, name: str, ys: Any) -> int:
    """Returns the width of an output, which has to be one array for the next layer."""
    if not hasattr(ys, "shape"):
        raise checks.ShapeError(
            f"{where}: {name} gives a {type(ys).__name__}, expected one array; several outputs can only come last"
        )
    return ys.shape[-1]


def width_of_cell(where: str, cell: Cell) -> int:
    """Returns the width of the output of `cell`, which does not depend on that of its input."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), cell.example_features))
    xs = jax.ShapeDtypeStruct((1, *input_shape(cell, cell.example_features)), jnp.float32)
    steps = (None, None, None)
    ys = jax.eval_shape(lambda params, xs: run_cell(cell, Options(), params, None, xs, *steps)[1], params, xs)
    return width_of(where, "cell", ys)
