"""Defines the LSTM with a memory controller. Gate order: `i f g o m` (input, forget, candidate, output, control)."""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def memory_controller_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM whose gates see a control vector in place of its output, which so serves the prediction alone.

    `iₜ, fₜ, oₜ, mₜ = σ(W xₜ + U vₜ₋₁ + b)` and `gₜ = tanh(W xₜ + U vₜ₋₁ + b)`, each with its own weights;
    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `vₜ = mₜ ⊙ tanh(cₜ)`, and the output is `oₜ ⊙ tanh(cₜ)` (Ben-Ari & Shwartz-Ziv 2017,
    "Sequence modeling using a memory controller extension for LSTM"). It is the `MCLSTM` of `torchrecurrent`;
    `jaxrnn.mc_lstm` conserves mass.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in output and control.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      **options: see `CellOptions`; the parameters are `kernel [D, 5, H]`, `recurrent_kernel [H, 5, H]` and
        `bias [5, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`, where `h` is the control vector v, not the output.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.memory_controller_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine has applied them all
        i, f, g, o, m = gates
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        seen = activation(c)
        return LSTMCarry(c, gate_activation(m) * seen), gate_activation(o) * seen

    gates, offsets = ("i", "f", "g", "o", "m"), {"f": forget_bias}
    known = dict.fromkeys("ifom", gate_activation) | {"g": activation}
    return pointwise_cell(pointwise, features, LSTMCarry, gates=gates, offsets=offsets, activations=known, **options)
