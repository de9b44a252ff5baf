"""`rnn`: a cell as a layer."""

from functools import partial
from typing import Any

from jaxrnn import checks, trees
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Cell, Layer, Method, Params, Remat
from jaxrnn.unroll import methods
from jaxrnn.unroll import step as step_cell
from jaxrnn.unroll import unroll as unroll_cell


@checked
def rnn(
    cell: Cell, *, reverse: bool = False, method: Method = "auto", remat: Remat = None, unroll: int | None = None
) -> Layer:
    """A layer that runs `cell` over its input; parameters and carry are the cell's own.

    Args:
      cell: the recurrence.
      reverse: from the last valid step to the first. Such a layer is not causal: it has no `step`.
      method: as in `unroll`.
      remat: as in `unroll`.
      unroll: as in `unroll`.

    Returns:
      A `Layer`; its `apply` takes `lengths` or `mask`, `resets`, and a `key` for a cell that draws.

    Raises:
      ValueError: `cell` is not a cell, or has no such `method`; `remat` or `unroll` is not one of those of `unroll`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.rnn(jaxrnn.lstm(8))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = layer.apply(params, None, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 8)
    """
    trees.check_cell("rnn", cell)
    checks.check_choice("rnn", "method", method, ("auto", *methods(cell)))
    run = partial(unroll_cell, cell, reverse=reverse, method=method, remat=remat, unroll=unroll)

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
        return run(params, xs, carry, lengths=lengths, mask=mask, resets=resets, key=key)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return step_cell(cell, params, carry, x)

    return Layer(
        cell.init,
        cell.init_carry,
        apply,
        None if reverse else step,
        num_feature_axes=cell.num_feature_axes,
        draws=cell.draw is not None,
        looks_ahead=("rnn with reverse=True",) if reverse else (),
        timed=cell.timed,
    )


def as_layer(where: str, cell: Any, *, name: str = "cell") -> Layer:
    """The layer that `cell`, a `Cell` or a `Layer`, stands for."""
    if isinstance(cell, Layer):
        return cell
    if isinstance(cell, Cell):
        return rnn(cell)
    found = type(cell).__name__  # not its repr: a Flax module's fills lines
    raise ValueError(f"{where}: {name} is of type {found}, expected a Cell or a Layer such as jaxrnn.lstm(128)")
