"""Defines the cell that a search over architectures found. Its gates are the eight leaves of a tree, in order."""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import relu, sigmoid

from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params


@checked
def nas(features: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes the cell that an architecture search found for language, a tree of eight gates; the output is `hₜ`.

    With `a₁ … a₈ = W xₜ + U hₜ₋₁ + b`, but `a₄ = (W xₜ + b) ⊙ (U hₜ₋₁)`, each with its own weights:
    `l₁ = tanh(σ(a₁) ⊙ relu(a₂))`, `l₂ = tanh(σ(a₃) + relu(a₄))`, `l₃ = tanh(tanh(a₅) ⊙ σ(a₆))`,
    `l₄ = σ(tanh(a₇) + σ(a₈))`, `cₜ = tanh(l₁ + cₜ₋₁) ⊙ l₂` and `hₜ = tanh(cₜ ⊙ tanh(l₃ + l₄))` (Zoph & Le 2017, "Neural
    architecture search with reinforcement learning", as in the NASCell of TensorFlow, which adds `b₄` to `U hₜ₋₁`).
    `torchrecurrent` has a sum in `a₄` as well.

    Args:
      features: H, the width of the state.
      **options: see `CellOptions`; the parameters are `kernel [D, 8, H]`, `recurrent_kernel [H, 8, H]` and
        `bias [8, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.nas(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (8, 8))
    """

    def pointwise(params: Params, carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        del params  # the engine has applied them all
        a1, a2, a3, (x, r), *rest = gates
        return tree(carry, (a1, a2, a3, x * r, *rest))

    names = ("a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8")
    known = {"a1": sigmoid, "a2": relu, "a3": sigmoid, "a5": jnp.tanh, "a6": sigmoid, "a7": jnp.tanh, "a8": sigmoid}
    return pointwise_cell(pointwise, features, LSTMCarry, gates=names, paired=("a4",), activations=known, **options)


def tree(carry: LSTMCarry, gates: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
    """Returns the next carry and the output from the leaves of the tree."""
    a1, a2, a3, a4, a5, a6, a7, a8 = gates
    l1 = jnp.tanh(sigmoid(a1) * relu(a2))
    l2 = jnp.tanh(sigmoid(a3) + relu(a4))
    l3 = jnp.tanh(jnp.tanh(a5) * sigmoid(a6))
    l4 = sigmoid(jnp.tanh(a7) + sigmoid(a8))
    c = jnp.tanh(l1 + carry.c) * l2
    h = jnp.tanh(c * jnp.tanh(l3 + l4))
    return LSTMCarry(c, h), h
