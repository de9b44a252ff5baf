"""The gated cells whose gates do not see the state. Gate order: `z h` for the GRU, `f i h` for the LSTM."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.linear import gate_inputs, linear_cell
from jaxrnn.types import Array, Cell, Params


@checked
def min_gru(
    features: int,
    *,
    eigenvalues: Literal["positive", "signed"] = "positive",
    activation: Callable[[Array], Array] = jax.nn.identity,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """A minimal gated recurrent unit, parallel over time; the output is `hₜ`.

    `zₜ = σ(W_z xₜ + b_z)`, `h̃ₜ = W_h xₜ + b_h`, `hₜ = (1 − zₜ) ⊙ hₜ₋₁ + zₜ ⊙ h̃ₜ` (Feng et al. 2024, "Were RNNs all we
    needed?"). `eigenvalues="signed"` multiplies the state by `1 − 2zₜ` instead, in (−1, 1), with which one layer tells
    even from odd (Grazzi et al. 2025, "Unlocking state-tracking in linear RNNs through negative eigenvalues").

    Args:
      features: H, the width of the state.
      eigenvalues: where those of the step lie: `"positive"` in (0, 1), `"signed"` in (−1, 1).
      activation: the candidate's nonlinearity; none in the paper's plain form.
      use_bias: whether there is a bias.
      kernel_init: draws `kernel [D, 2, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      bias_init: draws `bias [2, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; unknown `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.min_gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def gates(params: Params, xs: Array) -> tuple[Array, Array]:
        z, candidate = gate_inputs(params, xs)
        # 1 − σ(z) is σ(−z), which does not round to 0 before it is 0.
        a = sigmoid(-z) if eigenvalues == "positive" else 1 - 2 * sigmoid(z)
        return a, sigmoid(z) * activation(candidate)

    init = _init(features, 2, use_bias, kernel_init, bias_init, param_dtype)
    return linear_cell(gates, init, features, dtype=dtype)


@checked
def min_lstm(
    features: int,
    *,
    activation: Callable[[Array], Array] = jax.nn.identity,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """A minimal LSTM, parallel over time; the output is `hₜ`.

    `fₜ, iₜ = σ(W xₜ + b)`, each its own, `h̃ₜ = W_h xₜ + b_h`, and with `f′ = f / (f + i)`, `i′ = i / (f + i)`:
    `hₜ = f′ₜ ⊙ hₜ₋₁ + i′ₜ ⊙ h̃ₜ` (Feng et al. 2024, "Were RNNs all we needed?").

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity; none in the paper's plain form.
      use_bias: whether there is a bias.
      kernel_init: draws `kernel [D, 3, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      bias_init: draws `bias [3, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.min_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def gates(params: Params, xs: Array) -> tuple[Array, Array]:
        f, i, candidate = gate_inputs(params, xs)
        odds = softplus(-i) - softplus(-f)  # log(f / i), without the quotient of two small numbers
        return sigmoid(odds), sigmoid(-odds) * activation(candidate)

    init = _init(features, 3, use_bias, kernel_init, bias_init, param_dtype)
    return linear_cell(gates, init, features, dtype=dtype)


def _init(
    features: int, gates: int, use_bias: bool, kernel_init: Initializer, bias_init: Initializer, param_dtype: Any
) -> Callable[[Array, int], Params]:
    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        kernel = initializers.per_gate(kernel_init, k_kernel, in_features, gates, features, param_dtype)
        return {"kernel": kernel} | ({"bias": bias_init(k_bias, (gates, features), param_dtype)} if use_bias else {})

    return init
