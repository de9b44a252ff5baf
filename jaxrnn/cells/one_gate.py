"""Defines cells whose one gate mixes the state with a candidate. Gate order: gate, candidate."""

from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import cast, pointwise_cell, step_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def li_gru(
    features: int,
    *,
    activation: Activation = jax.nn.relu,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a light gated recurrent unit, a GRU without a reset gate and with ReLU; the output is `hₜ`.

    `zₜ = σ(W xₜ + U hₜ₋₁ + b)`, `h̃ₜ = max(0, W xₜ + U hₜ₋₁ + b)`, each with its own weights, and
    `hₜ = zₜ ⊙ hₜ₋₁ + (1 − zₜ) ⊙ h̃ₜ` (Ravanelli et al. 2018, "Light gated recurrent units for speech recognition"). The
    paper normalises `W xₜ` over the batch and has no bias; that is not part of this cell, which takes each sequence
    alone and has a bias.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.li_gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        z, n = gates
        z = gate_activation(z)
        h = z * carry.h + (1 - z) * activation(n)
        return HiddenCarry(h), h

    known = {"z": gate_activation, "n": activation}
    return pointwise_cell(pointwise, features, HiddenCarry, gates=("z", "n"), activations=known, **options)


@checked
def star(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a stackable recurrent cell, whose candidate comes from the input alone; the output is `hₜ`.

    `kₜ = σ(W_x xₜ + W_h hₜ₋₁ + b_k)`, `zₜ = tanh(W_z xₜ + b_z)`, and `hₜ = tanh((1 − kₜ) ⊙ hₜ₋₁ + kₜ ⊙ zₜ)` (Turkoglu
    et al. 2021, "Gating revisited: deep multi-layer RNNs that can be trained").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate and of the new state.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 1, H]` and
        `bias [2, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.star(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (8, 1, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        k, z = gates
        k = gate_activation(k)
        h = activation((1 - k) * carry.h + k * activation(z))
        return HiddenCarry(h), h

    known = {"k": gate_activation, "z": activation}
    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=("k", "z"), activations=known, **options)
    return partial_gates(cell, 2, recurrent_kernel=1)


@checked
def light_ru(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a light recurrent unit, one forget gate beside a candidate from the input alone; the output is `hₜ`.

    `fₜ = σ(W_f xₜ + U_f hₜ₋₁ + b_f)`, `h̃ₜ = tanh(W_h xₜ)`, and `hₜ = (1 − fₜ) ⊙ hₜ₋₁ + fₜ ⊙ h̃ₜ` (Ye et al. 2024, "Light
    recurrent unit: towards an interpretable recurrent neural network for modeling long-range dependency", without its
    stack recurrent cell). `torchrecurrent` adds a bias to the candidate. It is not the linear recurrent unit, `lru`.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 1, H]` and
        `bias [1, H]`, the last two for the gate alone.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.light_ru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (1, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        f, n = gates
        f = gate_activation(f)
        h = (1 - f) * carry.h + f * activation(n)
        return HiddenCarry(h), h

    known = {"f": gate_activation, "n": activation}
    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=("f", "n"), activations=known, **options)
    return partial_gates(cell, 2, recurrent_kernel=1, bias=1)


@checked
def minimal_rnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a minimal network, whose gate sees the encoded input and the state, and mixes them; the output is `hₜ`.

    `zₜ = tanh(W xₜ + b_z)`, `uₜ = σ(U_h hₜ₋₁ + U_z zₜ + b_u)`, and `hₜ = uₜ ⊙ hₜ₋₁ + (1 − uₜ) ⊙ zₜ` (Chen 2017,
    "MinimalRNN: toward more interpretable and trainable recurrent neural networks", with one layer as its Φ). A step
    has two products, so it runs in the plain loop.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the encoded input.
      gate_activation: σ, the nonlinearity of the gate.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 2, H]` with `U_z` and
        `U_h`, and `bias [2, H]` with `b_z` and `b_u`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.minimal_rnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["kernel"].shape
      ((5, 2, 8), (3, 1, 8))
    """

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        z, b_u = (z.astype(h.dtype) for z in zs)
        z = activation(z)
        u = gate_activation(dot(h, U[:, 1]) + dot(z, U[:, 0]) + b_u)
        h = u * h + (1 - u) * z
        return HiddenCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("z", "u"), **options)
    return partial_gates(cell, 2, kernel=1)._replace(cast=cast("recurrent_kernel"))
