"""Defines the strongly typed networks, linear in the state. Gate orders: `f z` of `t_rnn`, `z f o` of the others.

`kernel[n]`, `[D, G, H]`, of the latter maps an input to the gates `n` steps later.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.cell_options import LinearOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.convolved import convolved_cell
from jaxrnn.recurrence.linear import gate_inputs, linear_cell
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def t_rnn(
    features: int,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a strongly typed network: a running mean of inputs, which a gate weights; the output is `hₜ`.

    `zₜ = W xₜ`, `fₜ = σ(V xₜ + b)`, and `hₜ = fₜ ⊙ hₜ₋₁ + (1 − fₜ) ⊙ zₜ` (Balduzzi & Ghifary 2016, "Strongly-typed
    recurrent neural networks"). It is parallel over time. `torchrecurrent` adds a bias to `zₜ`.

    Args:
      features: H, the width of the state.
      **options: see `LinearOptions`; the parameters are `kernel [D, 2, H]` and `bias [1, H]`, of the gate alone.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.t_rnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (1, 8))
    """

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        dtype = options["param_dtype"]
        params = {"kernel": initializers.per_gate(options["kernel_init"], k_kernel, in_features, 2, features, dtype)}
        return params | ({"bias": options["bias_init"](k_bias, (1, features), dtype)} if options["use_bias"] else {})

    def gates(params: Params, xs: Array) -> tuple[Array, Array]:
        f, z = gate_inputs({"kernel": params["kernel"]}, xs)
        f = f + align(params["bias"][0], f) if options["use_bias"] else f
        return sigmoid(f), sigmoid(-f) * z

    return linear_cell(gates, init, features, dtype=options["dtype"])


@checked
def t_gru(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a strongly typed GRU, whose gates see the current and the last input; the output is `hₜ`.

    `zₜ = V xₜ₋₁ + W xₜ + b`, `fₜ = σ(V xₜ₋₁ + W xₜ + b)`, `oₜ = τ(V xₜ₋₁ + W xₜ + b)`, each with its own weights, and
    `hₜ = fₜ ⊙ hₜ₋₁ + zₜ ⊙ oₜ` (Balduzzi & Ghifary 2016, "Strongly-typed recurrent neural networks"). It is parallel
    over time. The last input is the last valid one of the sequence, and zeros before the first.

    Args:
      features: H, the width of the state.
      activation: τ, the nonlinearity of `oₜ`.
      **options: see `LinearOptions`; the parameters are `kernel [2, D, 3, H]` with `W` and `V`, drawn per gate as a
        matrix `(2 * D, H)`, and `bias [3, H]`.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `QRNNCarry(c, pending)`, where `c` is h, and
      `pending [*batch, 1, 3 * H]` is `V xₜ` for the next gates.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.t_gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def coefficients(z: Array, f: Array, o: Array) -> tuple[Array, Array]:
        return sigmoid(f), z * activation(o)

    def readout(h: Array, *gates: Array) -> Array:
        del gates
        return h

    return convolved_cell(coefficients, features, options, gates=3, kernel_size=2, readout=readout)


@checked
def t_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a strongly typed LSTM, whose gates see the current and the last input; the output is `hₜ`.

    `zₜ = V xₜ₋₁ + W xₜ + b`, `fₜ = σ(V xₜ₋₁ + W xₜ + b)`, `oₜ = τ(V xₜ₋₁ + W xₜ + b)`, each with its own weights,
    `cₜ = fₜ ⊙ cₜ₋₁ + (1 − fₜ) ⊙ zₜ`, and `hₜ = cₜ ⊙ oₜ` (Balduzzi & Ghifary 2016, "Strongly-typed recurrent neural
    networks"). It is parallel over time. The last input is the last valid one of the sequence, and zeros before the
    first.

    Args:
      features: H, the width of the state.
      activation: τ, the nonlinearity of `oₜ`.
      **options: see `LinearOptions`; the parameters are `kernel [2, D, 3, H]` with `W` and `V`, drawn per gate as a
        matrix `(2 * D, H)`, and `bias [3, H]`.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `QRNNCarry(c, pending)`, where `pending [*batch, 1, 3 * H]`
      is `V xₜ` for the next gates.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.t_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def coefficients(z: Array, f: Array, o: Array) -> tuple[Array, Array]:
        del o
        return sigmoid(f), sigmoid(-f) * z

    def readout(c: Array, z: Array, f: Array, o: Array) -> Array:
        del z, f
        return c * activation(o)

    return convolved_cell(coefficients, features, options, gates=3, kernel_size=2, readout=readout)
