"""Long short-term memory with a narrow output. Gate order: `i f g o` (input, forget, candidate, output)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params


@checked
def projected_lstm(
    features: int,
    projection: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    gate_activation: Callable[[Array], Array] = sigmoid,
    forget_bias: float = 1.0,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    projection_init: Initializer = initializers.lecun_normal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """An LSTM with a wide memory, of which a narrow part comes out: fewer weights, as much to remember.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = P (oₜ ⊙ tanh(cₜ))`, and the output is `hₜ`. With
    `iₜ, fₜ, oₜ = σ(W xₜ + U hₜ₋₁ + b)`, each its own, and `gₜ = tanh(W xₜ + U hₜ₋₁ + b)` (Sak, Senior & Beaufays 2014,
    "Long short-term memory recurrent neural network architectures for large scale acoustic modeling"; without its
    peepholes, as torch's `proj_size`).

    Args:
      features: H, the width of the memory.
      projection: P, the width of the state and of the output.
      activation: the nonlinearity of the candidate and of the memory on its way out.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: added to the forget gate's initial bias.
      kernel_init: draws `kernel [D, 4, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [P, 4, H]` gate by gate.
      projection_init: draws `projection [H, P]`.
      use_bias: whether there is one; without it no forget bias is added either.
      bias_init: draws `bias [4, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

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
        del params  # all of them are the engine's, which projects h as well
        i, f, g, o = gates
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_projection, k_bias = jax.random.split(key, 4)
        per_gate, shape = initializers.per_gate, (4, features)
        params = {
            "kernel": per_gate(kernel_init, k_kernel, in_features, *shape, param_dtype),
            "recurrent_kernel": per_gate(recurrent_kernel_init, k_recurrent, projection, *shape, param_dtype),
            "projection": per_gate(projection_init, k_projection, features, 1, projection, param_dtype)[:, 0],
        }
        bias = initializers.gate_offset(bias_init, 1, forget_bias)
        return params | ({"bias": bias(k_bias, shape, param_dtype)} if use_bias else {})

    return pointwise_cell(pointwise, init, LSTMCarry, gates=("i", "f", "g", "o"), dtype=dtype)
