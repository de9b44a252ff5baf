"""Defines the residual LSTM. Gate order: `i f g o x` (input, forget, candidate, output, shortcut)."""

from functools import partial
from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def res_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    peephole_init: Initializer = initializers.zeros,
    projection_init: Initializer = initializers.lecun_normal,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a residual LSTM, to whose projected cell state the input is added before the output gate.

    `iₜ, fₜ = σ(W xₜ + U hₜ₋₁ + p ⊙ cₜ₋₁ + b)`, `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`, `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`,
    `oₜ = σ(W xₜ + U hₜ₋₁ + p ⊙ cₜ + b)`, each with its own weights, and `hₜ = oₜ ⊙ (P tanh(cₜ) + xₜ)`, which is the
    output (Kim, El-Khamy & Lee 2017, "Residual LSTM: design of a deep recurrent architecture for distant speech
    recognition"). Where inputs are not H wide, `W_h xₜ` takes the place of `xₜ` in `hₜ`. `torchrecurrent` has `W_h`
    everywhere. A step has two products, so it runs in the plain loop.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      peephole_init: draws `peephole [3, H]` at once, in the order input, forget, output.
      projection_init: draws `projection [H, H]`, which is P.
      **options: see `CellOptions`; the other parameters are `kernel [D, 4, H]`, or `[D, 5, H]` with `W_h`,
        `recurrent_kernel [H, 4, H]` and `bias [4, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.res_lstm(8)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape, params["kernel"].shape, params["projection"].shape
      ((5, 2, 8), (8, 4, 8), (8, 8))
    """

    def step(params: Params, carry: LSTMCarry, zs: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        dot = partial(product, dtype=zs[0].dtype)
        *inputs, x = (z.astype(carry.h.dtype) for z in zs)
        states = dot(carry.h, params["recurrent_kernel"][:, :4])
        i, f, g, o = (z + states[..., k, :] for k, z in enumerate(inputs))
        p_i, p_f, p_o = (align(p, x) for p in params["peephole"])
        c = gate_activation(f + p_f * carry.c) * carry.c + gate_activation(i + p_i * carry.c) * activation(g)
        h = gate_activation(o + p_o * c) * (dot(activation(c), params["projection"]) + x)
        return LSTMCarry(c, h), h.astype(zs[0].dtype)

    gates, offsets = ("i", "f", "g", "o", "x"), {"f": forget_bias}
    extra = {"peephole": (peephole_init, (3, features)), "projection": (projection_init, (features, features))}
    cell = step_cell(step, features, LSTMCarry, gates=gates, offsets=offsets, extra=extra, **options)
    cell = partial_gates(cell, 5, recurrent_kernel=4, bias=4, passes_input=True)
    return cell._replace(cast=cast("recurrent_kernel", "projection"))
