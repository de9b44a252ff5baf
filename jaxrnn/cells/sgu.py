"""Defines simple gated units, in which the input multiplies the state. Gate order: `g z`, and `out`."""

from functools import partial
from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid, softplus

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.types import Activation, Array, Cell, Params


def _hard_sigmoid(x: Array) -> Array:
    return jnp.clip(0.2 * x + 0.5, 0, 1)


@checked
def sgu(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    output_activation: Activation = softplus,
    gate_activation: Activation = _hard_sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a simple gated unit, in which a product of input and state modulates the state; the output is `hₜ`.

    `x_g = W_g xₜ + b_g`, `z_g = tanh(U_g (x_g ⊙ hₜ₋₁))`, `z_out = softplus(z_g ⊙ hₜ₋₁)`,
    `zₜ = σ(W_z xₜ + U_z hₜ₋₁ + b_z)`, and `hₜ = (1 − zₜ) ⊙ hₜ₋₁ + zₜ ⊙ z_out` (Gao & Glowacka 2016, "Deep gate
    recurrent neural network"). Here σ is the hard sigmoid, `min(1, max(0, 0.2 x + 0.5))`.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of `z_g`.
      output_activation: the nonlinearity of `z_out`.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.sgu(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        x, z = (z.astype(h.dtype) for z in zs[:2])
        n = activation(dot(x * h, U[:, 0])) * h
        z = gate_activation(z + dot(h, U[:, 1]))
        h = (1 - z) * h + z * output_activation(n)
        return HiddenCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("g", "z"), **options)
    return cell._replace(cast=cast("recurrent_kernel"))


@checked
def dsgu(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    output_activation: Activation = sigmoid,
    gate_activation: Activation = _hard_sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a deep simple gated unit, an `sgu` with a product more; the output is `hₜ`.

    `x_g = W_g xₜ + b_g`, `z_g = tanh(U_g (x_g ⊙ hₜ₋₁))`, `z_out = sigmoid(U_out (z_g ⊙ hₜ₋₁))`,
    `zₜ = σ(W_z xₜ + U_z hₜ₋₁ + b_z)`, and `hₜ = (1 − zₜ) ⊙ hₜ₋₁ + zₜ ⊙ z_out` (Gao & Glowacka 2016, "Deep gate
    recurrent neural network"). Here σ is the hard sigmoid, `min(1, max(0, 0.2 x + 0.5))`.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of `z_g`.
      output_activation: the nonlinearity of `z_out`.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 3, H]` and
        `bias [2, H]`; the last recurrent kernel is `U_out`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.dsgu(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        x, z = (z.astype(h.dtype) for z in zs[:2])
        n = activation(dot(x * h, U[:, 0])) * h
        n = dot(n, U[:, 2])
        z = gate_activation(z + dot(h, U[:, 1]))
        h = (1 - z) * h + z * output_activation(n)
        return HiddenCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("g", "z", "out"), **options)
    return partial_gates(cell, 3, kernel=2, bias=2)._replace(cast=cast("recurrent_kernel"))
