"""Defines the minimal GRU and LSTM, whose gates do not see the state. Gate orders: GRU `z h`, LSTM `f i h`."""

from collections.abc import Callable
from typing import Literal, Unpack

import jax
from jax.nn import sigmoid, softplus

from jaxrnn import initializers
from jaxrnn.cell_options import LinearOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.linear import gate_inputs, linear_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def min_gru(
    features: int,
    *,
    eigenvalues: Literal["positive", "signed"] = "positive",
    activation: Activation = jax.nn.identity,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a minimal gated recurrent unit, parallel over time; the output is `hₜ`.

    `zₜ = σ(W_z xₜ + b_z)`, `h̃ₜ = W_h xₜ + b_h`, `hₜ = (1 − zₜ) ⊙ hₜ₋₁ + zₜ ⊙ h̃ₜ` (Feng et al. 2024, "Were RNNs all we
    needed?"). `eigenvalues="signed"` multiplies the state by `1 − 2zₜ` instead, in (−1, 1), so that one layer can
    compute parity (Grazzi et al. 2025, "Unlocking state-tracking in linear RNNs through negative eigenvalues").

    Args:
      features: H, the width of the state.
      eigenvalues: the range of a step's eigenvalues: `"positive"` is (0, 1), `"signed"` (−1, 1).
      activation: the candidate's nonlinearity; none in the paper's plain form.
      **options: see `LinearOptions`; the parameters are `kernel [D, 2, H]` and `bias [2, H]`.

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
        # 1 − σ(z) would round to 0 where σ(−z) does not.
        a = sigmoid(-z) if eigenvalues == "positive" else 1 - 2 * sigmoid(z)
        return a, sigmoid(z) * activation(candidate)

    return linear_cell(gates, _init(features, 2, options), features, dtype=options["dtype"])


@checked
def min_lstm(
    features: int,
    *,
    activation: Activation = jax.nn.identity,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a minimal LSTM, parallel over time; the output is `hₜ`.

    `hₜ = f′ₜ ⊙ hₜ₋₁ + i′ₜ ⊙ h̃ₜ` with `f′ = f / (f + i)`, `i′ = i / (f + i)`, `h̃ₜ = W_h xₜ + b_h` and
    `fₜ, iₜ = σ(W xₜ + b)`, each with its own weights (Feng et al. 2024, "Were RNNs all we needed?").

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity; none in the paper's plain form.
      **options: see `LinearOptions`; the parameters are `kernel [D, 3, H]` and `bias [3, H]`.

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
        odds = softplus(-i) - softplus(-f)  # this is log(f / i) without a quotient of two small numbers
        return sigmoid(odds), sigmoid(-odds) * activation(candidate)

    return linear_cell(gates, _init(features, 3, options), features, dtype=options["dtype"])


def _init(features: int, gates: int, options: LinearOptions) -> Callable[[Array, int], Params]:
    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        shape, dtype = (gates, features), options["param_dtype"]
        params = {"kernel": initializers.per_gate(options["kernel_init"], k_kernel, in_features, *shape, dtype)}
        return params | ({"bias": options["bias_init"](k_bias, shape, dtype)} if options["use_bias"] else {})

    return init
