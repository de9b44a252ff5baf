"""Cells that normalise their gates. Gate orders: LSTM `i f g o`; GRU `r z n`, of whose candidate both parts are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import GRUCarry, LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params

ones = jax.nn.initializers.ones


@checked
def layer_norm_lstm(
    features: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    gate_activation: Callable[[Array], Array] = sigmoid,
    forget_bias: float = 1.0,
    epsilon: float = 1e-6,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    scale_init: Initializer = ones,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """An LSTM with layer normalisation of each gate by itself, and of the memory on its way out.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(LN(cₜ))`, and the output is `hₜ`. With
    `iₜ, fₜ, oₜ = σ(LN(W xₜ + U hₜ₋₁))` and `gₜ = tanh(LN(W xₜ + U hₜ₋₁))`, each its own, where
    `LN(a) = α ⊙ (a − mean a) / √(var a + ε) + β` over the H features of one gate (Ba, Kiros & Hinton 2016, "Layer
    normalization", who normalise `W xₜ` and `U hₜ₋₁` apart and all gates together). There is no bias but β.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate and of the memory on its way out.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: added to the forget gate's initial β.
      epsilon: ε > 0.
      kernel_init: draws `kernel [D, 4, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [H, 4, H]` gate by gate.
      scale_init: draws α, `norm_scale [4, H]` of the gates and `memory_scale [H]`.
      bias_init: draws β, `norm_bias [4, H]` of the gates and `memory_bias [H]`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

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
        norm = partial(_norm, epsilon)
        i, f, g, o = map(norm, gates, params["norm_scale"], params["norm_bias"])
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(norm(c, params["memory_scale"], params["memory_bias"]))
        return LSTMCarry(c, h), h

    drawn = _params(features, 4, kernel_init, recurrent_kernel_init, param_dtype)
    further = {
        "norm_scale": (scale_init, (4, features)),
        "norm_bias": (initializers.gate_offset(bias_init, 1, forget_bias), (4, features)),
        "memory_scale": (scale_init, (features,)),
        "memory_bias": (bias_init, (features,)),
    }
    init = initializers.extended(drawn, further, param_dtype)
    return pointwise_cell(pointwise, init, LSTMCarry, gates=("i", "f", "g", "o"), dtype=dtype)


@checked
def layer_norm_gru(
    features: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    gate_activation: Callable[[Array], Array] = sigmoid,
    epsilon: float = 1e-6,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    scale_init: Initializer = ones,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """A GRU with layer normalisation of each gate by itself; the output is `hₜ`.

    `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁` with `rₜ, zₜ = σ(LN(W xₜ + U hₜ₋₁))` and `n = tanh(LN(W xₜ) + rₜ ⊙ LN(U hₜ₋₁))`,
    each its own, where `LN(a) = α ⊙ (a − mean a) / √(var a + ε) + β` over the H features of one gate. The candidate is
    that of Ba, Kiros & Hinton 2016, "Layer normalization", whose gates normalise `W xₜ` and `U hₜ₋₁` apart and both
    gates together. There is no bias but β.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      epsilon: ε > 0.
      kernel_init: draws `kernel [D, 3, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [H, 3, H]` gate by gate.
      scale_init: draws α, `norm_scale [4, H]`: of r, of z, and of the candidate's input and state.
      bias_init: draws β, `norm_bias [4, H]`, in the same order.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `GRUCarry(h)`.

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

    def pointwise(params: Params, carry: GRUCarry, gates: tuple[Any, ...]) -> tuple[GRUCarry, Array]:
        r, z, (n_x, n_h) = gates
        r, z, n_x, n_h = map(partial(_norm, epsilon), (r, z, n_x, n_h), params["norm_scale"], params["norm_bias"])
        r, z = gate_activation(r), gate_activation(z)
        h = (1 - z) * activation(n_x + r * n_h) + z * carry.h
        return GRUCarry(h), h

    drawn = _params(features, 3, kernel_init, recurrent_kernel_init, param_dtype)
    further = {"norm_scale": (scale_init, (4, features)), "norm_bias": (bias_init, (4, features))}
    init = initializers.extended(drawn, further, param_dtype)
    return pointwise_cell(pointwise, init, GRUCarry, gates=("r", "z", "n"), paired=("n",), dtype=dtype)


def _check(where: str, epsilon: float) -> None:
    if not epsilon > 0:
        raise ValueError(f"{where}: epsilon is {epsilon!r}, expected ε > 0")


def _params(features: int, gates: int, kernel_init: Any, recurrent_kernel_init: Any, dtype: Any) -> Any:
    return partial(
        initializers.dense_params,
        features=features,
        gates=gates,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=None,
        param_dtype=dtype,
    )


def _norm(epsilon: float, a: Array, scale: Array, bias: Array) -> Array:
    centred = a - a.mean(-1, keepdims=True)
    return scale * centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + epsilon) + bias
