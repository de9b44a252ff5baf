"""Defines the LSTM with a narrow output. Gate order: `i f g o` (input, forget, candidate, output)."""

from typing import Unpack

import jax
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
def projected_lstm(
    features: int,
    projection: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    projection_init: Initializer = initializers.lecun_normal,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM whose hidden state is a narrow projection: it has fewer weights for the same width of cell state.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = P (oₜ ⊙ tanh(cₜ))`, and the output is `hₜ`. The gates are
    `iₜ, fₜ, oₜ = σ(W xₜ + U hₜ₋₁ + b)` and `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`, each with its own weights (Sak, Senior &
    Beaufays 2014, "Long short-term memory recurrent neural network architectures for large scale acoustic modeling";
    without its peepholes, as torch's `proj_size`).

    Args:
      features: H, the width of the cell state.
      projection: P, the width of the hidden state and of the output.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      projection_init: draws `projection [H, P]`.
      **options: see `CellOptions`; the other parameters are `kernel [D, 4, H]`, `recurrent_kernel [P, 4, H]` and
        `bias [4, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`: `c [*batch, H]`, `h [*batch, P]`.

    Raises:
      ValueError: `features` or `projection` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.projected_lstm(8, 2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 4, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 4, 2), (4, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine applies them all, including the projection of h
        i, f, g, o = gates
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_projection, k_bias = jax.random.split(key, 4)
        per_gate, shape, dtype = initializers.per_gate, (4, features), options["param_dtype"]
        params = {
            "kernel": per_gate(options["kernel_init"], k_kernel, in_features, *shape, dtype),
            "recurrent_kernel": per_gate(options["recurrent_kernel_init"], k_recurrent, projection, *shape, dtype),
            "projection": per_gate(projection_init, k_projection, features, 1, projection, dtype)[:, 0],
        }
        bias_init = initializers.gate_offset(options["bias_init"], 1, forget_bias)
        return params | ({"bias": bias_init(k_bias, shape, dtype)} if options["use_bias"] else {})

    known = {"i": gate_activation, "f": gate_activation, "g": activation, "o": gate_activation}
    cell = pointwise_cell(pointwise, features, LSTMCarry, gates=("i", "f", "g", "o"), activations=known, **options)
    return cell._replace(init=init)
