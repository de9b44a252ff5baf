"""Defines gated recurrent units in their three forms. Gate order: `r z n` (reset, update, candidate)."""

from functools import partial
from typing import Any, Literal, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, pointwise_cell, step_cell
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params

GATES = ("r", "z", "n")


@checked
def gru(
    features: int,
    *,
    reset: Literal["after", "before", "to_bias"] = "after",
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a gated recurrent unit with gates `rₜ, zₜ = σ(W xₜ + U hₜ₋₁ + b)`; the output is `hₜ`.

    Each gate and the candidate `n` have their own weights.

    * `reset="after"`, the reset gate after the product, as in torch, cuDNN, keras and flax:
      `n = tanh(W xₜ + b + rₜ ⊙ (U hₜ₋₁ + b_hn))`, `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁`; the fused engine's form.
    * `reset="before"`, the paper's: `n = tanh(W xₜ + U (rₜ ⊙ hₜ₋₁) + b)`, `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁` (Cho et al.
      2014, "Learning phrase representations using RNN encoder–decoder").
    * `reset="to_bias"`, the reset gate moves the state towards a learned vector instead of zero:
      `n = tanh(W xₜ + U ((1 − rₜ) ⊙ hₜ₋₁ + rₜ ⊙ b_h) + b)`, `hₜ = (1 − zₜ) ⊙ hₜ₋₁ + zₜ ⊙ n`. Both gates are inverted
      here: `r = 1` forgets, `z = 1` takes the candidate.

    Args:
      features: H, the width of the state.
      reset: one of the three forms.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 3, H]` and
        `bias [3, H]`. The vectors `recurrent_bias [H]` (`b_hn`, for `"after"` with a bias) and `reset_bias [H]`
        (`b_h`, for `"to_bias"`) start at zero.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; an unknown `reset`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gru(8, reset="before")
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    use_bias = options["use_bias"]

    def after(params: Params, carry: HiddenCarry, gates: tuple[Any, ...]) -> tuple[HiddenCarry, Array]:
        r, z, (n_x, n_h) = gates
        r, z = gate_activation(r), gate_activation(z)
        n = activation(n_x + r * (n_h + params["recurrent_bias"] if use_bias else n_h))
        h = (1 - z) * n + z * carry.h
        return HiddenCarry(h), h

    def before(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        r, z, n_x, U, dot = parts(params, carry, zs)
        n = activation(n_x + dot(r * carry.h, U[:, 2]))
        h = (1 - z) * n + z * carry.h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    def to_bias(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        r, z, n_x, U, dot = parts(params, carry, zs)
        n = activation(n_x + dot((1 - r) * carry.h + r * align(params["reset_bias"], r), U[:, 2]))
        h = (1 - z) * carry.h + z * n
        return HiddenCarry(h), h.astype(zs[0].dtype)

    def parts(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[Any, ...]:
        """Returns the gates, the candidate's input, the recurrent kernel, and `product` in the computation's dtype."""
        dot = partial(product, dtype=zs[0].dtype)
        U = params["recurrent_kernel"]
        r_x, z_x, n_x = (z.astype(carry.h.dtype) for z in zs)
        r, z = (gate_activation(z + dot(carry.h, U[:, k])) for k, z in enumerate((r_x, z_x)))
        return r, z, n_x, U, dot

    if reset == "after":
        known = {"r": gate_activation, "z": gate_activation}
        cell = pointwise_cell(after, features, HiddenCarry, gates=GATES, paired=("n",), activations=known, **options)
        return _with_vector(cell, "recurrent_bias") if use_bias else cell
    cell = step_cell(before if reset == "before" else to_bias, features, HiddenCarry, gates=GATES, **options)
    cell = cell._replace(cast=cast("recurrent_kernel"))
    return _with_vector(cell, "reset_bias") if reset == "to_bias" else cell


def _with_vector(cell: Cell, name: str) -> Cell:
    """Returns the cell with a vector of zeros among its parameters."""

    def init(key: Array, in_features: int) -> Params:
        params = cell.init(key, in_features)
        kernel = params["kernel"]
        return {**params, name: jnp.zeros(kernel.shape[-1:], kernel.dtype)}

    return cell._replace(init=init)
