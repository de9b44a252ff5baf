"""Defines cells with normalised gates. Gate orders: LSTM `i f g o`; GRU `r z n`, whose candidate has two norms."""

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params

ones = jax.nn.initializers.ones


@checked
def layer_norm_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    epsilon: float = 1e-6,
    scale_init: Initializer = ones,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM with layer normalisation per gate, and of the cell state on its way to the output.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(LN(cₜ))`, and the output is `hₜ`. The gates are
    `iₜ, fₜ, oₜ = σ(LN(W xₜ + U hₜ₋₁))` and `gₜ = tanh(LN(W xₜ + U hₜ₋₁))`, each with its own weights, where
    `LN(a) = α ⊙ (a − mean a) / √(var a + ε) + β` over the H features of one gate (Ba, Kiros & Hinton 2016, "Layer
    normalization", who normalise `W xₜ` and `U hₜ₋₁` apart and all gates together). β is the only bias.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial β.
      epsilon: ε > 0.
      scale_init: draws α, `norm_scale [4, H]` of the gates and `cell_scale [H]` of the cell state.
      **options: see `CellOptions`; the other parameters are `kernel [D, 4, H]`, `recurrent_kernel [H, 4, H]` and the
        biases β, `norm_bias [4, H]` of the gates and `cell_bias [H]` of the cell state.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int; `epsilon` is not positive.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.layer_norm_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["norm_scale"].shape
      ((5, 2, 8), (4, 8))
    """
    _check("layer_norm_lstm", epsilon)

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        i, f, g, o = _gates_normed(epsilon, params, gates)
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        c_normed = _normed(epsilon, c, params["cell_scale"], params.get("cell_bias"))
        h = gate_activation(o) * activation(c_normed)
        return LSTMCarry(c, h), h

    bias_init = options["bias_init"]
    extra = {
        "norm_scale": (scale_init, (4, features)),
        "norm_bias": (initializers.gate_offset(bias_init, 1, forget_bias), (4, features)),
        "cell_scale": (scale_init, (features,)),
        "cell_bias": (bias_init, (features,)),
    }
    gates = ("i", "f", "g", "o")
    return pointwise_cell(pointwise, features, LSTMCarry, gates=gates, **_normalized(options, extra))


@checked
def layer_norm_gru(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    epsilon: float = 1e-6,
    scale_init: Initializer = ones,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a GRU with layer normalisation per gate; the output is `hₜ`.

    `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁` with `rₜ, zₜ = σ(LN(W xₜ + U hₜ₋₁))` and `n = tanh(LN(W xₜ) + rₜ ⊙ LN(U hₜ₋₁))`,
    each with its own weights, where `LN(a) = α ⊙ (a − mean a) / √(var a + ε) + β` over the H features of one gate. The
    candidate is that of Ba, Kiros & Hinton 2016, "Layer normalization", whose gates normalise `W xₜ` and `U hₜ₋₁` apart
    and both gates together. β is the only bias.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      epsilon: ε > 0.
      scale_init: draws α, `norm_scale [4, H]`, of r, z, and the candidate's input and state.
      **options: see `CellOptions`; the other parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 3, H]` and the
        biases β, `norm_bias [4, H]`, in the order of the scales.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; `epsilon` is not positive.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.layer_norm_gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["norm_scale"].shape
      ((5, 2, 8), (4, 8))
    """
    _check("layer_norm_gru", epsilon)

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Any, ...]) -> tuple[HiddenCarry, Array]:
        r, z, (n_x, n_h) = gates
        r, z, n_x, n_h = _gates_normed(epsilon, params, (r, z, n_x, n_h))
        r, z = gate_activation(r), gate_activation(z)
        h = (1 - z) * activation(n_x + r * n_h) + z * carry.h
        return HiddenCarry(h), h

    extra = {"norm_scale": (scale_init, (4, features)), "norm_bias": (options["bias_init"], (4, features))}
    gates = ("r", "z", "n")
    return pointwise_cell(pointwise, features, HiddenCarry, gates=gates, paired=("n",), **_normalized(options, extra))


def _check(where: str, epsilon: float) -> None:
    if not epsilon > 0:
        raise ValueError(f"{where}: epsilon is {epsilon!r}, expected ε > 0")


def _normalized(options: CellOptions, extra: dict[str, Any]) -> dict[str, Any]:
    """Returns options with these parameters: `use_bias` is about the biases of norms, not of gates."""
    kept = {name: entry for name, entry in extra.items() if options["use_bias"] or not name.endswith("_bias")}
    return {**options, "use_bias": False, "extra": kept}


def _gates_normed(epsilon: float, params: Params, gates: tuple[Array, ...]) -> list[Array]:
    biases = params.get("norm_bias", [None] * len(gates))
    return [_normed(epsilon, *each) for each in zip(gates, params["norm_scale"], biases, strict=True)]


def _normed(epsilon: float, a: Array, scale: Array, bias: Array | None) -> Array:
    centred = a - a.mean(-1, keepdims=True)
    normed = scale * centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return normed if bias is None else normed + bias
