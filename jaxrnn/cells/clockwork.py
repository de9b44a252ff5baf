"""Defines the Clockwork RNN, whose groups of units change at their own rates. It has one gate, its state."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.carries import HiddenCarry, serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import step_cell
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Activation, Array, Cell, Params

normal = jax.nn.initializers.normal(0.1)


@serializable
class ClockworkCarry(NamedTuple):
    """`h [*batch, H]`, the state, and `steps [*batch]`, an integer: those since the sequence began."""

    h: Array
    steps: Array


@checked
@defaults(kernel_init=normal, recurrent_kernel_init=normal)
def clockwork(
    features: int,
    *,
    periods: tuple[int, ...] = (1, 2, 4, 8),
    activation: Activation = jnp.tanh,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a Clockwork RNN, an Elman network in groups, each of which changes once in a period; the output is `hₜ`.

    The units of a group with period P change at the steps t of a sequence with `t mod P = 0`, where the first step is
    t = 0, at which all groups change: there `hₜ = tanh(U hₜ₋₁ + W xₜ + b)`, and elsewhere `hₜ = hₜ₋₁`. A group sees the
    states of groups with its own period or a longer one alone: U is 0 elsewhere (Koutník et al. 2014, "A clockwork
    RNN"). Invalid steps do not count.

    The loop is the plain one and computes all units at each step; the operations that resting groups would save are not
    saved.

    Args:
      features: H, the width of the state. Groups are equally wide, except that the first ones have one unit more where
        their number does not divide H.
      periods: the period of each group, in steps; powers of two in the paper.
      activation: the nonlinearity of the state.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]`, which are drawn
        from `N(0, 0.1²)` by default, and `bias [1, H]`. The parts of the recurrent kernel that U lacks are 0 and stay
        so, since they have no gradient.

    Returns:
      A `Cell` with carry `ClockworkCarry(h, steps)`.

    Raises:
      ValueError: `features` is not a positive int; `periods` is not a tuple of positive ints, or is empty.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.clockwork(8, periods=(1, 3))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.random.normal(jax.random.key(1), (5, 2)))
      >>> (ys[1:] != ys[:-1]).sum(axis=0).tolist()  # changes after the first step
      [4, 4, 4, 4, 1, 1, 1, 1]
    """
    if not periods:
        raise ValueError("clockwork: periods is (), expected one for each group, such as (1, 2, 4, 8)")
    of_unit = np.repeat(periods, [len(group) for group in np.array_split(np.arange(features), len(periods))])
    seen = (of_unit[:, None] >= of_unit)[:, None]  # [H, 1, H], from the first axis to the last

    def step(params: Params, carry: ClockworkCarry, zs: tuple[Array, ...]) -> tuple[ClockworkCarry, Array]:
        (z,) = zs
        kernel = jnp.where(seen, params["recurrent_kernel"], 0)
        moved = activation(z.astype(carry.h.dtype) + product(carry.h, kernel[:, 0], z.dtype))
        active = carry.steps[..., None] % align(jnp.asarray(of_unit, carry.steps.dtype), moved) == 0
        h = jnp.where(active, moved, carry.h)
        return ClockworkCarry(h, carry.steps + 1), h.astype(z.dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("h",), **options)

    def init(key: Array, in_features: int) -> Params:
        params = cell.init(key, in_features)
        return params | {"recurrent_kernel": jnp.where(seen, params["recurrent_kernel"], 0)}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> ClockworkCarry:
        return ClockworkCarry(cell.init_carry(params, batch_shape).h, zeros(batch_shape, jnp.int32))

    return cell._replace(init=init, init_carry=init_carry)
