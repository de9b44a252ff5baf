"""Defines LSTMs with one gate for input and forgetting. Gate order: `f g o` (forget, candidate, output); JANET `f g`"""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry, LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def coupled_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM that takes in as much as it forgets.

    `cₜ = fₜ ⊙ cₜ₋₁ + (1 − fₜ) ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(cₜ)`, and the output is `hₜ`. The gates are
    `fₜ, oₜ = σ(W xₜ + U hₜ₋₁ + b)` and `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`, each with its own weights (Greff et al. 2017,
    "LSTM: a search space odyssey", which names it CIFG and has the input gate, `1 − fₜ`, as its gate).

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 3, H]` and
        `bias [3, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.coupled_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (3, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine has applied them all
        f, g, o = gates
        c = gate_activation(f) * carry.c + _one_minus(gate_activation, -f) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h

    return pointwise_cell(
        pointwise,
        features,
        LSTMCarry,
        gates=("f", "g", "o"),
        offsets={"f": forget_bias},
        activations={"f": gate_activation, "g": activation, "o": gate_activation},
        **options,
    )


@checked
def janet(
    features: int,
    *,
    beta: float = 1.0,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes "just another network", an LSTM whose only gate is the forget gate.

    `hₜ = σ(sₜ) ⊙ hₜ₋₁ + (1 − σ(sₜ − β)) ⊙ gₜ`, and the output is `hₜ`. `sₜ = W xₜ + U hₜ₋₁ + b` and
    `gₜ = tanh(W xₜ + U hₜ₋₁ + b)` have their own weights (van der Westhuizen & Lasenby 2018, "The unreasonable
    effectiveness of the forget gate").

    Args:
      features: H, the width of the state.
      beta: β, by which the cell takes in more than it forgets; 0 couples the two.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias. For long dependencies the paper has
        `forget_bias=0.0, bias_init=initializers.chrono(max_time, forget=0, input=None)`.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> long = jaxrnn.initializers.chrono(100, forget=0, input=None)
      >>> cell = jaxrnn.janet(8, forget_bias=0.0, bias_init=long)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        s, g = gates
        h = gate_activation(s) * carry.h + _one_minus(gate_activation, beta - s) * activation(g)
        return HiddenCarry(h), h

    return pointwise_cell(
        pointwise,
        features,
        HiddenCarry,
        gates=("f", "g"),
        offsets={"f": forget_bias},
        activations={"f": gate_activation, "g": activation},
        **options,
    )


def _one_minus(gate_activation: Activation, negated: Array) -> Array:
    """Returns `1 − gate_activation(−negated)`, for a sigmoid as `sigmoid(negated)`, which does not cancel near 1."""
    return sigmoid(negated) if gate_activation is sigmoid else 1 - gate_activation(-negated)
