"""`rnn` makes a layer of a cell."""

from functools import partial
from typing import Any

from jaxrnn import trees
from jaxrnn.driver import Options, run_model, step_cell
from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import activated
from jaxrnn.types import Array, Carry, Cell, Inside, Layer, Method, Params, Remat, Steps
from jaxrnn.unroll import check_method


@checked
def rnn(
    cell: Cell, *, reverse: bool = False, method: Method = "auto", remat: Remat = None, unroll: int | None = None
) -> Layer:
    """Makes a layer that runs `cell` with options; parameters and carry are the cell's.

    A cell may take the place of any layer: only options need `rnn`.

    Args:
      cell: the recurrence.
      reverse: runs from the last valid step to the first. Such a layer is not causal: it has no `step`.
      method: as in `unroll`.
      remat: as in `unroll`.
      unroll: as in `unroll`.

    Returns:
      A `Layer`.

    Raises:
      ValueError: `cell` is not a cell, or has no such `method`; `remat` or `unroll` is not one of those of `unroll`.

    Example:
      >>> import jax, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.rnn(jaxrnn.lstm(8), remat="step"), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(model, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 2)
    """
    trees.check_cell("rnn", cell)
    check_method("rnn", cell, method)
    how = Options(reverse, method, remat, unroll)

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        return run_model(cell, how, params, carry, xs, steps)[:2]

    made = layer(
        "rnn with reverse=True" if reverse else "rnn",
        cell.init,
        run,
        None if reverse else partial(step_cell, cell),
        cell.init_carry,
        num_feature_axes=cell.num_feature_axes,
        draws=cell.draw is not None,
        timed=cell.timed,
        splits=True,
    )
    return made._replace(inside=lambda params, carry, x, context: Inside(cell, params, carry, x))


def as_layer(where: str, model: Any, *, name: str = "model") -> Layer:
    """Returns `model`, a `Cell` or a `Layer`, as a layer."""
    trees.check_model(where, model, name=name)
    return rnn(model) if isinstance(model, Cell) else model


def layer_of_function(function: Any) -> Layer:
    """Returns a layer that calls a plain function of features at each step."""

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Any]:
        return carry, activated(function, steps.valid, xs)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Any]:
        return carry, function(x)

    name = getattr(function, "__name__", "function")
    return layer(name, lambda key, in_features: {}, run, step, any_axes=True, splits=True)
