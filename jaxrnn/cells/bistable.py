"""Defines bistable cells, which keep one of two states. Gate order: `a c n` (feedback, update, candidate)."""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params


@checked
def nbr(features: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes a neuromodulated bistable cell, a GRU whose feedback to itself goes up to 2; the output is `hₜ`.

    `aₜ = 1 + tanh(U_a xₜ + W_a hₜ₋₁)`, `cₜ = σ(U_c xₜ + W_c hₜ₋₁)`, and
    `hₜ = cₜ ⊙ hₜ₋₁ + (1 − cₜ) ⊙ tanh(U xₜ + aₜ ⊙ hₜ₋₁)` (Vecoven, Ernst & Drion 2021, "A bio-inspired bistable
    recurrent cell allows for long-lasting memory"), and a bias in each. Where `aₜ > 1`, a feature is bistable: it stays
    at one of two values without any input.

    Args:
      features: H, the width of the state.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 2, H]` and
        `bias [3, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.nbr(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    return partial_gates(_bistable(features, options), 3, recurrent_kernel=2)


@checked
@defaults(recurrent_kernel_init=jax.nn.initializers.normal(1.0))
def br(features: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes a bistable cell, an `nbr` each of whose features sees its own past alone; the output is `hₜ`.

    `aₜ = 1 + tanh(U_a xₜ + w_a ⊙ hₜ₋₁)`, `cₜ = σ(U_c xₜ + w_c ⊙ hₜ₋₁)`, and
    `hₜ = cₜ ⊙ hₜ₋₁ + (1 − cₜ) ⊙ tanh(U xₜ + aₜ ⊙ hₜ₋₁)` (Vecoven, Ernst & Drion 2021, "A bio-inspired bistable
    recurrent cell allows for long-lasting memory"), and a bias in each.

    Args:
      features: H, the width of the state.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, the vectors `w_a` and `w_c`,
        `recurrent_kernel [2, H]`, which by default are normal of variance 1, and `bias [3, H]`.

    Returns:
      A `Cell` of structure `"diagonal"` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.br(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (2, 8))
    """

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
        shape, dtype = (3, features), options["param_dtype"]
        params = {
            "kernel": initializers.per_gate(options["kernel_init"], k_kernel, in_features, *shape, dtype),
            "recurrent_kernel": options["recurrent_kernel_init"](k_recurrent, shape, dtype),
        }
        return params | ({"bias": options["bias_init"](k_bias, shape, dtype)} if options["use_bias"] else {})

    cell = _bistable(features, options)._replace(init=init)
    return partial_gates(cell, 3, recurrent_kernel=2)._replace(structure="diagonal")


def _bistable(features: int, options: CellOptions) -> Cell:
    """Makes the cell of both: `n` is to have no recurrent kernel."""

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        a, c, n = gates
        h = sigmoid(c) * carry.h + sigmoid(-c) * jnp.tanh(n + (1 + jnp.tanh(a)) * carry.h)
        return HiddenCarry(h), h

    known = {"a": jnp.tanh, "c": sigmoid}
    return pointwise_cell(pointwise, features, HiddenCarry, gates=("a", "c", "n"), activations=known, **options)
