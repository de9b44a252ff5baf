"""Defines cells that add a gated input to a gated state. Gate order: the gates, then the input."""

from typing import Any, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry, LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def ran(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a recurrent additive network, whose cell state is a weighted sum of its inputs; the output is `hₜ`.

    `c̃ₜ = W_c xₜ`, `iₜ, fₜ = σ(W xₜ + U hₜ₋₁ + b)`, `cₜ = iₜ ⊙ c̃ₜ + fₜ ⊙ cₜ₋₁`, and `hₜ = tanh(cₜ)` (Lee, Levy &
    Zettlemoyer 2017, "Recurrent additive networks").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the output; the paper also tries the identity, `lambda c: c`.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`, for the gates alone.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.ran(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine has applied them all
        i, f, x = gates
        c = gate_activation(i) * x + gate_activation(f) * carry.c
        h = activation(c)
        return LSTMCarry(c, h), h

    known = {"i": gate_activation, "f": gate_activation}
    cell = pointwise_cell(pointwise, features, LSTMCarry, gates=("i", "f", "x"), activations=known, **options)
    return partial_gates(cell, 3, recurrent_kernel=2, bias=2)


@checked
def atr(
    features: int,
    *,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an addition-subtraction twin-gated cell: two gates of one product with input and state; the output is `hₜ`.

    `pₜ = W xₜ + b`, `qₜ = U hₜ₋₁`, `iₜ = σ(pₜ + qₜ)`, `fₜ = σ(pₜ − qₜ)`, and `hₜ = iₜ ⊙ pₜ + fₜ ⊙ hₜ₋₁` (Zhang et al.
    2018, "Simplifying neural machine translation with addition-subtraction twin-gated recurrent networks").

    Args:
      features: H, the width of the state.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]` and
        `bias [1, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.atr(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Any, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        ((p, q),) = gates
        h = gate_activation(p + q) * p + gate_activation(p - q) * carry.h
        return HiddenCarry(h), h

    return pointwise_cell(pointwise, features, HiddenCarry, gates=("p",), paired=("p",), **options)


@checked
def cfn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a chaos-free network, whose state decays to zero when no input arrives; the output is `hₜ`.

    `θₜ, ηₜ = σ(V xₜ + U hₜ₋₁ + b)`, each with its own weights, and `hₜ = θₜ ⊙ tanh(hₜ₋₁) + ηₜ ⊙ tanh(W xₜ)` (Laurent &
    von Brecht 2017, "A recurrent neural network without chaos").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the state and of the input.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`, for the gates alone.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.cfn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        theta, eta, x = gates
        h = gate_activation(theta) * activation(carry.h) + gate_activation(eta) * activation(x)
        return HiddenCarry(h), h

    known = {"theta": gate_activation, "eta": gate_activation, "x": activation}
    gates = tuple(known)
    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=gates, activations=known, **options)
    return partial_gates(cell, 3, recurrent_kernel=2, bias=2)


@checked
def sgrn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a simple gated network, whose one gate and whose candidate share the product with the input.

    `fₜ = σ(W xₜ + U hₜ₋₁ + b)`, and `hₜ = tanh((1 − fₜ) ⊙ W xₜ + fₜ ⊙ hₜ₋₁)`, which is the output (Zu & Wei 2021, "A
    simple gated recurrent network for detection of power quality disturbances"). `torchrecurrent` adds one more bias to
    `W xₜ` in both places.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the new state.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]` and
        `recurrent_bias [H]`, `b`, which `bias_init` draws as `(1, H)`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.sgrn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    use_bias = options["use_bias"]

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Any, ...]) -> tuple[HiddenCarry, Array]:
        ((x, q),) = gates
        f = gate_activation(x + (q + params["recurrent_bias"] if use_bias else q))
        h = activation((1 - f) * x + f * carry.h)
        return HiddenCarry(h), h

    def bias(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return options["bias_init"](key, (1, *shape), dtype)[0]

    # The engine's own bias would be part of the product that gate and candidate share.
    extra, own = {"recurrent_bias": bias} if use_bias else None, options | {"use_bias": False}
    return pointwise_cell(pointwise, features, HiddenCarry, gates=("x",), paired=("x",), extra=extra, **own)
