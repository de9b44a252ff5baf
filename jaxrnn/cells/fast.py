"""Defines networks with a weighted residual connection over time. Both have one product, `h`."""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def fast_rnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an Elman cell with a weighted residual connection, two numbers that training adjusts; the output is `hₜ`.

    `hₜ = σ(α) tanh(W xₜ + U hₜ₋₁ + b) + σ(β) hₜ₋₁` (Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny
    kilobyte sized gated recurrent neural network", where α and β are the weights themselves, `σ(α)` and `σ(β)` here).
    The paper's low-rank W and U are left to the caller.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]`, `bias [1, H]`,
        and the numbers `alpha []` and `beta []`. They start at −3 and 3, as in the authors' implementation: a small
        weight of the candidate, and one of the state near 1.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.fast_rnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["alpha"].shape
      ((5, 2, 8), ())
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        h = sigmoid(params["alpha"]) * activation(gates[0]) + sigmoid(params["beta"]) * carry.h
        return HiddenCarry(h), h

    return pointwise_cell(
        pointwise,
        features,
        HiddenCarry,
        gates=("h",),
        extra={"alpha": _number(-3.0), "beta": _number(3.0)},
        activations={"h": activation},
        **options,
    )


@checked
def fast_grnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a gated cell whose gate and candidate have the same matrices; the output is `hₜ`.

    `z = σ(W xₜ + U hₜ₋₁ + b_z)`, `h̃ = tanh(W xₜ + U hₜ₋₁ + b_h)`, and `hₜ = (σ(ζ) (1 − z) + σ(ν)) ⊙ h̃ + z ⊙ hₜ₋₁`
    (Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated recurrent neural network",
    where ζ and ν are what is `σ(ζ)` and `σ(ν)` here). The paper's low-rank W and U are left to the caller.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]`, `bias [2, H]`
        with `b_z` and `b_h`, and the numbers `zeta []` and `nu []`, which start at 1 and −4, as in the authors'
        implementation.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.fast_grnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (2, 8))
    """
    dtype = options["param_dtype"]

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        b_z, b_h = params.get("biases", (0, 0))
        z = gate_activation(gates[0] + b_z)
        n = activation(gates[0] + b_h)
        h = (sigmoid(params["zeta"]) * (1 - z) + sigmoid(params["nu"])) * n + z * carry.h
        return HiddenCarry(h), h

    def init(key: Array, in_features: int) -> Params:
        k_params, k_bias = jax.random.split(key)
        bias = {"bias": options["bias_init"](k_bias, (2, features), dtype)} if options["use_bias"] else {}
        return cell.init(k_params, in_features) | bias

    def renamed(params: Params) -> Params:
        """Hides the biases from the engine, which would add one of them to the product that both gates share."""
        return {"biases" if name == "bias" else name: p for name, p in params.items()}

    extra = {"zeta": _number(1.0), "nu": _number(-4.0)}
    own = options | {"use_bias": False}
    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=("h",), extra=extra, **own)
    return reparametrized(cell, init, renamed)


def _number(value: float) -> tuple[Initializer, tuple[int, ...]]:
    """Returns the entry of `extra` for a parameter that is one number."""
    return jax.nn.initializers.constant(value), ()
