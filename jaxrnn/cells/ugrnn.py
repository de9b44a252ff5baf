"""Defines the update gate and the intersection network. Gate order: `g c` and `y h g_y g_h x`."""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import relu, sigmoid

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def ugrnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    gate_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an update gate network, a cell with one gate between its state and a candidate; the output is `hₜ`.

    `gₜ = σ(W xₜ + U hₜ₋₁ + b)`, `cₜ = tanh(W xₜ + U hₜ₋₁ + b)`, each with its own weights, and
    `hₜ = gₜ ⊙ hₜ₋₁ + (1 − gₜ) ⊙ cₜ` (Collins, Sohl-Dickstein & Sussillo 2017, "Capacity and trainability in recurrent
    neural networks").

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      gate_bias: the number added to the initial bias of `g`, which keeps the state at first; the paper tunes it.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.ugrnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        g, c = gates
        g = gate_activation(g)
        h = g * carry.h + (1 - g) * activation(c)
        return HiddenCarry(h), h

    return pointwise_cell(
        pointwise,
        features,
        HiddenCarry,
        gates=("g", "c"),
        offsets={"g": gate_bias},
        activations={"g": gate_activation, "c": activation},
        **options,
    )


@checked
def intersection_rnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    depth_activation: Activation = relu,
    gate_activation: Activation = sigmoid,
    gate_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an intersection network, +RNN, which gates its way through time and its way from input to output.

    With `φ(W xₜ + U hₜ₋₁ + b)` for each of `yⁱⁿ` (φ is ReLU), `hⁱⁿ` (tanh) and the gates `gʸ` and `gʰ` (σ),
    `yₜ = gʸ ⊙ xₜ + (1 − gʸ) ⊙ yⁱⁿ`, which is the output, and `hₜ = gʰ ⊙ hₜ₋₁ + (1 − gʰ) ⊙ hⁱⁿ` (Collins,
    Sohl-Dickstein & Sussillo 2017, "Capacity and trainability in recurrent neural networks"). Where inputs are not H
    wide, `W_s xₜ` takes the place of `xₜ` in `yₜ`; the paper has inputs of that width alone.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of `hⁱⁿ`.
      depth_activation: the nonlinearity of `yⁱⁿ`.
      gate_activation: σ, the nonlinearity of the gates.
      gate_bias: the number added to the initial biases of both gates, which pass the state and the input at first; the
        paper tunes one for each.
      **options: see `CellOptions`; the parameters are `kernel [D, 4, H]`, or `[D, 5, H]` with `W_s`,
        `recurrent_kernel [H, 4, H]` and `bias [4, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`; its output `y` is not `h`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.intersection_rnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        y, c, g_y, g_h, x = gates
        g_y, g_h = gate_activation(g_y), gate_activation(g_h)
        h = g_h * carry.h + (1 - g_h) * activation(c)
        return HiddenCarry(h), g_y * x + (1 - g_y) * depth_activation(y)

    cell = pointwise_cell(
        pointwise,
        features,
        HiddenCarry,
        gates=("y", "h", "g_y", "g_h", "x"),
        offsets={"g_y": gate_bias, "g_h": gate_bias},
        activations={"y": depth_activation, "h": activation, "g_y": gate_activation, "g_h": gate_activation},
        **options,
    )
    return partial_gates(cell, 5, recurrent_kernel=4, bias=4, passes_input=True)
