"""Defines the minion recurrent units, GRUs with numbers in place of gates. Gate order: `r n` (reset, candidate)."""

from functools import partial
from typing import Any, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, pointwise_cell, step_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def mi_ru1(
    features: int,
    *,
    update_coefficient: float = 0.5,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes the first minion recurrent unit, a GRU whose update gate is a number; the output is `hₜ`.

    `rₜ = σ(W_r xₜ + U_r hₜ₋₁ + b_r)`, `h̃ₜ = tanh(W_h xₜ + U_h (rₜ ⊙ hₜ₋₁) + b_h)`, and `hₜ = λ hₜ₋₁ + (1 − λ) h̃ₜ`
    (Zyarah & Kudithipudi 2025, "Minion gated recurrent unit for continual learning"). A step has two products, so it
    runs in the plain loop.

    Args:
      features: H, the width of the state.
      update_coefficient: λ, with 0 ≤ λ < 1, the share of the old state in the new one; the default is that of
        `torchrecurrent`.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; `update_coefficient` is not at least 0 and below 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mi_ru1(8, update_coefficient=0.8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    _check_update("mi_ru1", update_coefficient)

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        r, n = (z.astype(h.dtype) for z in zs)
        r = gate_activation(r + dot(h, U[:, 0]))
        h = update_coefficient * h + (1 - update_coefficient) * activation(n + dot(r * h, U[:, 1]))
        return HiddenCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("r", "n"), **options)
    return cell._replace(cast=cast("recurrent_kernel"))


@checked
def mi_ru2(
    features: int,
    *,
    update_coefficient: float = 0.5,
    reset_coefficient: float = 0.5,
    activation: Activation = jnp.tanh,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes the second minion recurrent unit, a GRU both of whose gates are numbers; the output is `hₜ`.

    `h̃ₜ = tanh(W xₜ + U (β hₜ₋₁) + b)`, and `hₜ = λ hₜ₋₁ + (1 − λ) h̃ₜ` (Zyarah & Kudithipudi 2025, "Minion gated
    recurrent unit for continual learning").

    Args:
      features: H, the width of the state.
      update_coefficient: λ, with 0 ≤ λ < 1, the share of the old state in the new one; the default is that of
        `torchrecurrent`.
      reset_coefficient: β, with 0 ≤ β ≤ 1, the share of the old state that the candidate sees; the default likewise.
      activation: the candidate's nonlinearity.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]` and
        `bias [1, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; `update_coefficient` is not at least 0 and below 1;
        `reset_coefficient` is not between 0 and 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mi_ru2(8, update_coefficient=0.8, reset_coefficient=0.6)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    _check_update("mi_ru2", update_coefficient)
    if not 0 <= reset_coefficient <= 1:
        raise ValueError(f"mi_ru2: reset_coefficient is {reset_coefficient!r}, expected 0 ≤ β ≤ 1")

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Any, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        ((x, u),) = gates  # β is a number, so that it commutes with U
        h = update_coefficient * carry.h + (1 - update_coefficient) * activation(x + reset_coefficient * u)
        return HiddenCarry(h), h

    return pointwise_cell(pointwise, features, HiddenCarry, gates=("n",), paired=("n",), **options)


def _check_update(where: str, coefficient: float) -> None:
    if not 0 <= coefficient < 1:
        raise ValueError(
            f"{where}: update_coefficient is {coefficient!r}, expected 0 ≤ λ < 1, or the state never moves"
        )
