"""Defines the multiplicative LSTM. Gate order: `i f g o m` (input, forget, candidate, output, intermediate state)."""

from functools import partial
from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def multiplicative_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a multiplicative LSTM, whose product with the state depends on the input; the output is `hₜ`.

    Its gates see `mₜ = (W_m xₜ) ⊙ (U_m hₜ₋₁)` in place of the state: `iₜ, fₜ, oₜ = σ(W xₜ + U mₜ + b)` and
    `gₜ = tanh(W xₜ + U mₜ + b)`, each with its own weights. Then `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ` and `hₜ = oₜ ⊙ tanh(cₜ)`,
    as in an LSTM (Krause et al. 2016, "Multiplicative LSTM for sequence modelling"). A step has two products, so it
    runs in the plain loop. It is not the `mlstm` of xLSTM.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      **options: see `CellOptions`; the parameters are `kernel [D, 5, H]`, `recurrent_kernel [H, 5, H]` and
        `bias [4, H]`; the last gate is `m`, which has no bias.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.multiplicative_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def step(params: Params, carry: LSTMCarry, zs: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        dot, U = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"]
        *inputs, x = (z.astype(carry.h.dtype) for z in zs)
        states = dot(x * dot(carry.h, U[:, 4]), U[:, :4])
        i, f, g, o = (z + states[..., k, :] for k, z in enumerate(inputs))
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h.astype(zs[0].dtype)

    gates, offsets = ("i", "f", "g", "o", "m"), {"f": forget_bias}
    cell = step_cell(step, features, LSTMCarry, gates=gates, offsets=offsets, **options)
    return partial_gates(cell, 5, bias=4)._replace(cast=cast("recurrent_kernel"))
