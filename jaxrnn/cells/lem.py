"""Defines the long expressive memory. Gate order: `Δt Δ̄t z y` (the two time steps, the two states)."""

from functools import partial
from typing import NamedTuple, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.types import Array, Cell, Params


@serializable
class LEMCarry(NamedTuple):
    """`h [*batch, H]`, the state `y` of the paper and the output, and `z [*batch, H]`, its second state."""

    h: Array
    z: Array


@checked
def lem(
    features: int,
    *,
    dt: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a long expressive memory, two states whose time steps are learned for each feature; the output is `yₜ`.

    `Δtₜ = Δt σ(W₁ yₜ₋₁ + V₁ xₜ + b₁)`, `Δ̄tₜ = Δt σ(W₂ yₜ₋₁ + V₂ xₜ + b₂)`,
    `zₜ = (1 − Δtₜ) ⊙ zₜ₋₁ + Δtₜ ⊙ tanh(W_z yₜ₋₁ + V_z xₜ + b_z)` and
    `yₜ = (1 − Δ̄tₜ) ⊙ yₜ₋₁ + Δ̄tₜ ⊙ tanh(W_y zₜ + V_y xₜ + b_y)` (Rusch et al. 2022, "Long expressive memory for sequence
    modeling"). A step has two products, so it runs in the plain loop. `torchrecurrent` reads `zₜ₋₁` in the last line;
    this cell reads `zₜ`, as the paper does.

    Args:
      features: H, the width of the state.
      dt: Δt, with 0 < Δt ≤ 1, the longest time step. At first a step keeps about `1 − Δt / 2` of each state, so
        dependencies over thousands of steps need a small one.
      **options: see `CellOptions`; the parameters are `kernel [D, 4, H]`, `recurrent_kernel [H, 4, H]` and
        `bias [4, H]`.

    Returns:
      A `Cell` with carry `LEMCarry(h, z)`, where `h` is y.

    Raises:
      ValueError: `features` is not a positive int; `dt` is not between 0 and 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lem(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.z.shape
      ((5, 2, 8), (2, 8))
    """
    if not 0 < dt <= 1:
        raise ValueError(f"lem: dt is {dt!r}, expected a longest time step 0 < Δt ≤ 1")

    def step(params: Params, carry: LEMCarry, zs: tuple[Array, ...]) -> tuple[LEMCarry, Array]:
        dot, W = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"]
        *seen, y = (z.astype(carry.h.dtype) for z in zs)
        states = dot(carry.h, W[:, :3])
        fast, slow, z = (x + states[..., k, :] for k, x in enumerate(seen))
        fast, slow = dt * sigmoid(fast), dt * sigmoid(slow)
        z = (1 - fast) * carry.z + fast * jnp.tanh(z)
        h = (1 - slow) * carry.h + slow * jnp.tanh(y + dot(z, W[:, 3]))
        return LEMCarry(h, z), h.astype(zs[0].dtype)

    cell = step_cell(step, features, LEMCarry, gates=("dt", "dt_bar", "z", "y"), **options)
    return cell._replace(cast=cast("recurrent_kernel"))
