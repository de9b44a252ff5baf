"""Defines the gated unit with delayed feedback. Gate order: `u g a z`, the last of which sees the delayed state."""

from functools import partial
from typing import NamedTuple, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.shapes import zeros
from jaxrnn.types import Activation, Array, Cell, Params


@serializable
class TauGRUCarry(NamedTuple):
    """`h [*batch, H]`, the state, and `past [*batch, d, H]`, the states before it, the oldest first."""

    h: Array
    past: Array


@checked
def tau_gru(
    features: int,
    *,
    delay: int = 10,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a gated unit with a weighted feedback from a state some steps ago, a shortcut for gradients, too.

    `uₜ = tanh(W xₜ + U hₜ₋₁ + b)`, `zₜ = tanh(W xₜ + U hₜ₋₁₋d + b)`, `gₜ, aₜ = σ(W xₜ + U hₜ₋₁ + b)`, each with its own
    weights, and the output is `hₜ = (1 − gₜ) ⊙ hₜ₋₁ + gₜ ⊙ (uₜ + aₜ ⊙ zₜ)` (Erichson, Lim & Mahoney 2022, "Gated
    recurrent neural networks with weighted time-delay feedback"). States before the beginning are zero. The delay is
    counted in valid steps of the sequence. A step has products with two states, so it runs in the plain loop.

    Args:
      features: H, the width of the state.
      delay: d, for how many steps a state waits; the best one depends on the task.
      activation: the nonlinearity of both candidates.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 4, H]`, `recurrent_kernel [H, 4, H]` and
        `bias [4, H]`.

    Returns:
      A `Cell` with carry `TauGRUCarry(h, past)`.

    Raises:
      ValueError: `features` or `delay` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.tau_gru(8, delay=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.past.shape
      ((5, 2, 8), (2, 3, 8))
    """

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> TauGRUCarry:
        h = cell.init_carry(params, batch_shape).h
        return TauGRUCarry(h, zeros((*batch_shape, delay, features), h.dtype))

    def step(params: Params, carry: TauGRUCarry, zs: tuple[Array, ...]) -> tuple[TauGRUCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        u, g, a, z = (z.astype(h.dtype) for z in zs)
        states = dot(h, U[:, :3])
        u = activation(u + states[..., 0, :])
        g, a = (gate_activation(x + states[..., k, :]) for k, x in ((1, g), (2, a)))
        z = activation(z + dot(carry.past[..., 0, :], U[:, 3]))
        past = jnp.concatenate([carry.past[..., 1:, :], h[..., None, :]], axis=-2)
        h = (1 - g) * h + g * (u + a * z)
        return TauGRUCarry(h, past.astype(h.dtype)), h.astype(zs[0].dtype)

    cell = step_cell(step, features, TauGRUCarry, gates=("u", "g", "a", "z"), **options)
    return cell._replace(init_carry=init_carry, cast=cast("recurrent_kernel"))
