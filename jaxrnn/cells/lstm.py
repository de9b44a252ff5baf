"""Defines the long short-term memory. Gate order: `i f g o` (input, forget, candidate, output)."""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.cudnn import with_cudnn
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a long short-term memory, `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(cₜ)`; the output is `hₜ`.

    The gates are `iₜ, fₜ, oₜ = σ(W xₜ + U hₜ₋₁ + b)` and `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`, each with its own weights
    (Hochreiter & Schmidhuber 1997, "Long short-term memory"; the forget gate: Gers, Schmidhuber & Cummins 2000,
    "Learning to forget").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias, so that the cell state lasts when training begins
        (Jozefowicz, Zaremba & Sutskever 2015).
      **options: see `CellOptions`; the parameters are `kernel [D, 4, H]`, `recurrent_kernel [H, 4, H]` and
        `bias [4, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`. With the usual activations it has `method="cudnn"`, too.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine has applied them all
        i, f, g, o = gates
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h

    cell = pointwise_cell(
        pointwise,
        features,
        LSTMCarry,
        gates=("i", "f", "g", "o"),
        offsets={"f": forget_bias},
        activations={"i": gate_activation, "f": gate_activation, "g": activation, "o": gate_activation},
        **options,
    )
    return with_cudnn(cell) if (activation, gate_activation) == (jnp.tanh, sigmoid) else cell


def _twice_tanh_of_half(x: Array) -> Array:
    return 2 * jnp.tanh(x / 2)


def _tanh_of_half(x: Array) -> Array:
    return jnp.tanh(x / 2)


@checked
def original_lstm(
    features: int,
    *,
    activation: Activation = _twice_tanh_of_half,
    output_activation: Activation = _tanh_of_half,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes the LSTM as it was first published, without a forget gate: the cell state only adds up.

    `cₜ = cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ h(cₜ)`, and the output is `hₜ`. The gates are `iₜ, oₜ = σ(W xₜ + U hₜ₋₁ + b)` and
    `gₜ = g(W xₜ + U hₜ₋₁ + b)`, each with its own weights, where `g(x) = 4 σ(x) − 2 = 2 tanh(x / 2)` and
    `h(x) = 2 σ(x) − 1 = tanh(x / 2)` (Hochreiter & Schmidhuber 1997, "Long short-term memory", with blocks of one
    cell). Later implementations have tanh for both.

    Args:
      features: H, the width of the state.
      activation: g, the candidate's nonlinearity.
      output_activation: h, the nonlinearity of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 3, H]` and
        `bias [3, H]`, of the gates `i g o`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.original_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine has applied them all
        i, g, o = gates
        c = carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * output_activation(c)
        return LSTMCarry(c, h), h

    known = {"i": gate_activation, "g": activation, "o": gate_activation}
    return pointwise_cell(pointwise, features, LSTMCarry, gates=("i", "g", "o"), activations=known, **options)
