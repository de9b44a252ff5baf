"""Defines the LSTM whose gates see the cell state. Gate order: `i f g o` (input, forget, candidate, output)."""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def peephole_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    peephole_init: Initializer = initializers.zeros,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM whose input and forget gates see the old cell state, and its output gate the new one.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(cₜ)`, and the output is `hₜ`. The gates are
    `iₜ, fₜ = σ(W xₜ + U hₜ₋₁ + p ⊙ cₜ₋₁ + b)`, `oₜ = σ(W xₜ + U hₜ₋₁ + p ⊙ cₜ + b)` and `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`,
    each with its own weights (Gers, Schraudolph & Schmidhuber 2002, "Learning precise timing with LSTM recurrent
    networks").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      peephole_init: draws `peephole [3, H]` at once, in the order input, forget, output; zeros make it an `lstm`.
      **options: see `CellOptions`; the other parameters are `kernel [D, 4, H]`, `recurrent_kernel [H, 4, H]` and
        `bias [4, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.peephole_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["peephole"].shape
      ((5, 2, 8), (3, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        i, f, g, o = gates
        p_i, p_f, p_o = params["peephole"]
        c = gate_activation(f + p_f * carry.c) * carry.c + gate_activation(i + p_i * carry.c) * activation(g)
        h = gate_activation(o + p_o * c) * activation(c)
        return LSTMCarry(c, h), h

    return pointwise_cell(
        pointwise,
        features,
        LSTMCarry,
        gates=("i", "f", "g", "o"),
        offsets={"f": forget_bias},
        extra={"peephole": (peephole_init, (3, features))},
        **options,
    )
