"""Defines the minimal gated unit. Gate order: `f n` (the one gate, candidate)."""

from functools import partial
from typing import Any, Literal, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, pointwise_cell, step_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def mgu(
    features: int,
    *,
    reset: Literal["after", "before"] = "after",
    gate: Literal["update", "keep"] = "update",
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a gated recurrent unit whose one gate both resets and updates; the output is `hₜ`.

    The gate is `fₜ = σ(W xₜ + U hₜ₋₁ + b)`, and the candidate n, with its own weights, is

    * with `reset="after"`, the gate after the product, `n = tanh(W xₜ + b + fₜ ⊙ (U hₜ₋₁ + b_hn))`: the fused engine's
      form, and Flax's;
    * with `reset="before"`, the paper's, `n = tanh(W xₜ + U (fₜ ⊙ hₜ₋₁) + b)` (Zhou et al. 2016, "Minimal gated unit
      for recurrent neural networks").

    The gate lets the candidate in, as in the paper, `hₜ = (1 − fₜ) ⊙ hₜ₋₁ + fₜ ⊙ n` (`gate="update"`), or keeps the
    state, as in Flax, `hₜ = (1 − fₜ) ⊙ n + fₜ ⊙ hₜ₋₁` (`gate="keep"`).

    Args:
      features: H, the width of the state.
      reset: whether the gate acts after or before the product with the state.
      gate: whether the open gate updates or keeps the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [2, H]`. The vector `recurrent_bias [H]` (`b_hn`, for `"after"` with a bias) starts at zero.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; an unknown `reset` or `gate`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mgu(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    gates, use_bias = ("f", "n"), options["use_bias"]

    def updated(f: Array, h: Array, n: Array) -> HiddenCarry:
        return HiddenCarry((1 - f) * h + f * n if gate == "update" else (1 - f) * n + f * h)

    def after(params: Params, carry: HiddenCarry, gates: tuple[Any, ...]) -> tuple[HiddenCarry, Array]:
        f, (n_x, n_h) = gates
        f = gate_activation(f)
        carry = updated(f, carry.h, activation(n_x + f * (n_h + params["recurrent_bias"] if use_bias else n_h)))
        return carry, carry.h

    def before(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"]
        f_x, n_x = (z.astype(carry.h.dtype) for z in zs)
        f = gate_activation(f_x + dot(carry.h, U[:, 0]))
        carry = updated(f, carry.h, activation(n_x + dot(f * carry.h, U[:, 1])))
        return carry, carry.h.astype(zs[0].dtype)

    if reset == "before":
        return step_cell(before, features, HiddenCarry, gates=gates, **options)._replace(cast=cast("recurrent_kernel"))
    extra = {"recurrent_bias": initializers.zeros} if use_bias else None
    return pointwise_cell(
        after,
        features,
        HiddenCarry,
        gates=gates,
        paired=("n",),
        extra=extra,
        activations={"f": gate_activation},
        **options,
    )
