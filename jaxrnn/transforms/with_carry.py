"""`with_carry` makes a cell also output its carry."""

from typing import Any

from jaxrnn import trees
from jaxrnn.options import checked
from jaxrnn.recurrence.followed import followed
from jaxrnn.types import Carry, Cell


@checked
def with_carry(cell: Cell) -> Cell:
    """Makes a cell with the output `(y, carry)`, where `carry` is the one after each step.

    Args:
      cell: any cell.

    Returns:
      A `Cell` whose `ys`, from `unroll`, are `(ys, carries)`, the leaves of `carries` `[T, *batch, ...]`. Both are 0 at
      invalid steps, as every output is. In a stack it may only be the last layer.

    Raises:
      ValueError: `cell` is not a cell.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.with_carry(jaxrnn.lstm(8))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, (ys, carries) = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> carries.c.shape, bool((carries.c[-1] == carry.c).all())
      ((5, 2, 8), True)
    """
    trees.check_cell("with_carry", cell)

    def then(before: Carry, carry: Carry, y: Any, masks: Any) -> tuple[Carry, Any]:
        del before, masks
        return carry, (y, carry)

    return followed(cell, then)
