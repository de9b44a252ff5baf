"""`zoneout` makes random parts of the state keep their values."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks, trees
from jaxrnn.options import checked
from jaxrnn.recurrence.followed import carry_shapes, floating_fields, followed, input_shape
from jaxrnn.types import Array, Carry, Cell, Params


@checked
def zoneout(cell: Cell, rate: float | Mapping[str, float] | Carry) -> Cell:
    """Makes features of the state keep their values with probability `rate` at each step; without a key, on average.

    `hₜ = d ⊙ hₜ₋₁ + (1 − d) ⊙ step(…)` with `d ~ Bernoulli(rate)`, and with `d = rate` without a key (Krueger et al.
    2017, "Zoneout: regularizing RNNs by randomly preserving hidden activations"). The `key` of `unroll` draws the masks
    before the loop.

    Args:
      cell: a cell whose output is the field `h` of its carry.
      rate: 0 ≤ rate < 1, for every field of the carry or by field, `{"c": 0.5, "h": 0.05}` or `LSTMCarry(0.5, 0.05)`;
        a field without a rate has 0, and so have integers and bools. Where fields have a meaning only together, as
        those of `slstm` or `rg_lru`, name `h` alone.

    Returns:
      A `Cell` with the parameters and the carry of `cell`.

    Raises:
      ValueError: a rate outside [0, 1), or one for a field that the carry does not have; the carry has no `h`,
        or has one that is not the output.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.zoneout(jaxrnn.lstm(8), {"c": 0.5, "h": 0.05})
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.numpy.ones((5, 2, 3))
      >>> carry, noisy = jaxrnn.unroll(cell, params, xs, key=jax.random.key(1))
      >>> carry, expected = jaxrnn.unroll(cell, params, xs)
      >>> bool((noisy != expected).any())
      True
    """
    trees.check_cell("zoneout", cell)
    fields = floating_fields(
        jax.eval_shape(lambda: cell.init_carry(cell.init(jax.random.key(0), cell.example_features)))
    )
    if "h" not in fields:
        raise ValueError(f"zoneout: the carry of cell has fields {fields}, expected one named 'h', the output")
    if not _gives_its_state(cell):
        raise ValueError(
            "zoneout: the output of cell is not the field h of its carry, expected a cell that gives its h"
        )
    by_field = rate._asdict() if isinstance(rate, tuple) and hasattr(rate, "_asdict") else rate
    rates = dict(by_field) if isinstance(by_field, Mapping) else dict.fromkeys(fields, by_field)
    if unknown := sorted(rates.keys() - set(fields)):
        raise ValueError(f"zoneout: rate names {unknown}, expected fields of the carry that are floating: {fields}")
    for field, p in rates.items():
        checks.check_rate("zoneout", f"rate of {field}", p)

    def then(before: Carry, carry: Carry, y: Array, masks: Any) -> tuple[Carry, Array]:
        kept = {}
        for field, p in rates.items():
            old, new = getattr(before, field), getattr(carry, field)
            kept[field] = p * old + (1 - p) * new if masks is None else jnp.where(masks[field], old, new)
        carry = carry._replace(**kept)
        return carry, carry.h.astype(y.dtype)

    def sample(key: Array, params: Params, batch: tuple[int, ...]) -> dict[str, Array]:
        state = carry_shapes(cell, params, batch)
        keys = jax.random.split(key, len(rates))
        return {
            field: jax.random.bernoulli(k, p, getattr(state, field).shape)
            for k, (field, p) in zip(keys, rates.items(), strict=True)
        }

    return followed(cell, then, sample)


def _gives_its_state(cell: Cell) -> bool:
    """Returns whether the output of a step is its field `h`, up to a cast, by reading its program."""

    def first() -> tuple[Array, Any]:
        params = cell.init(jax.random.key(0), cell.example_features)
        x = jnp.zeros(input_shape(cell, cell.example_features))
        carry, y = cell.step(params, cell.init_carry(params, x.shape[:-1]), cell.project(params, x))
        return carry.h, y

    program = jax.make_jaxpr(first)().jaxpr
    made_by = {eqn.outvars[0]: eqn for eqn in program.eqns}

    def undo_cast(value: Any) -> Any:
        while value in made_by and made_by[value].primitive.name == "convert_element_type":
            value = made_by[value].invars[0]
        return value

    return len({undo_cast(value) for value in program.outvars}) == 1
