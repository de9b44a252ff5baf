"""`learned_carry` makes the initial carry of a cell a parameter."""

import jax
import jax.numpy as jnp

from jaxrnn import checks, trees
from jaxrnn.options import checked
from jaxrnn.recurrence.followed import floating_fields
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Array, Carry, Cell, Params

PREFIX = "initial_"


@checked
def learned_carry(cell: Cell) -> Cell:
    """Makes the initial carry of `cell` a parameter: `initial_h [H]`, and so on for each field.

    A reset starts from it, too. Before training it is the initial carry of `cell`, which is zero for most. Some fields
    are not learned: integers and bools, which have no derivative; the flag of `rg_lru`, whose first step adds its input
    without the square root even if the learned `h` is not zero; and the stabiliser `m` of `mlstm`, which only scales
    the other two. An `slstm` starts with a cell state of 0 that weighs as much as one input through a gate of `exp(0)`:
    `initial_c` is its value and `initial_m` the logarithm of its weight.

    Args:
      cell: a cell whose carry is a NamedTuple of arrays. `cell.learned` decides which fields are learned, and their
        initial values.

    Returns:
      A `Cell` with the carry of `cell`.

    Raises:
      ValueError: `cell` is not a cell, or has parameters `initial_…` already. `init` raises it if a learned field is
        not finite.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.learned_carry(jaxrnn.lstm(8))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params["initial_c"].shape, params["initial_h"].shape
      ((8,), (8,))
    """
    trees.check_cell("learned_carry", cell)
    names = jax.eval_shape(lambda: cell.init(jax.random.key(0), cell.example_features))
    if taken := sorted(name for name in names if name.startswith(PREFIX)):
        raise ValueError(f"learned_carry: cell has parameters {taken}, expected one whose carry is not learned yet")

    def begin(carry: Carry) -> tuple[Carry, tuple[str, ...]]:
        return (carry, floating_fields(carry)) if cell.learned is None else cell.learned(carry)

    def init(key: Array, in_features: int) -> Params:
        params = cell.init(key, in_features)
        dtype = jnp.result_type(*params.values())
        start, fields = begin(cell.init_carry(params))
        for field in fields:
            remedy = "cell._replace(learned=…) tells which fields are learned, and from where"
            checks.check_finite("learned_carry", f"{field} of the initial carry", getattr(start, field), remedy)
        return params | {PREFIX + field: getattr(start, field).astype(dtype) for field in fields}

    def inner(params: Params) -> Params:
        return {name: p for name, p in params.items() if not name.startswith(PREFIX)}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        start, fields = begin(cell.init_carry(inner(params), batch_shape))
        own = {field: getattr(start, field) for field in fields}
        return start._replace(
            **{f: jnp.broadcast_to(params[PREFIX + f], a.shape).astype(a.dtype) for f, a in own.items()}
        )

    return reparametrized(cell, init, inner)._replace(init_carry=init_carry, cast=cell.cast, products=cell.products)
