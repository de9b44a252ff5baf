"""Long short-term memory whose gates see the memory. Gate order: `i f g o` (input, forget, candidate, output)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params


@checked
def peephole_lstm(
    features: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    gate_activation: Callable[[Array], Array] = sigmoid,
    forget_bias: float = 1.0,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    peephole_init: Initializer = initializers.zeros,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """An LSTM whose input and forget gates see the old memory, and its output gate the new one.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(cₜ)`, and the output is `hₜ`. With
    `iₜ, fₜ = σ(W xₜ + U hₜ₋₁ + p ⊙ cₜ₋₁ + b)`, `oₜ = σ(W xₜ + U hₜ₋₁ + p ⊙ cₜ + b)` and `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`,
    each its own (Gers, Schraudolph & Schmidhuber 2002, "Learning precise timing with LSTM recurrent networks").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate and of the memory on its way out.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: added to the forget gate's initial bias.
      kernel_init: draws `kernel [D, 4, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [H, 4, H]` gate by gate.
      peephole_init: draws `peephole [3, H]` as a whole, in the order input, forget, output; zero is an `lstm`.
      use_bias: whether there is one; without it no forget bias is added either.
      bias_init: draws `bias [4, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

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

    drawn = partial(
        initializers.dense_params,
        features=features,
        gates=4,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=initializers.gate_offset(bias_init, 1, forget_bias) if use_bias else None,
        param_dtype=param_dtype,
    )
    init = initializers.extended(drawn, {"peephole": (peephole_init, (3, features))}, param_dtype)
    return pointwise_cell(pointwise, init, LSTMCarry, gates=("i", "f", "g", "o"), dtype=dtype)
