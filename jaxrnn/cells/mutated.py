"""Defines the mutated units, GRUs that a search over architectures found. Their steps have two products or three."""

from functools import partial
from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.partial_gates import partial_gates
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def mut1(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes the first mutated unit, whose update gate sees the input alone; the output is `hₜ`.

    `z = σ(W xₜ + b)`, `r = σ(W xₜ + U hₜ₋₁ + b)`, and `hₜ = z ⊙ tanh(U (r ⊙ hₜ₋₁) + tanh(xₜ) + b_h) + (1 − z) ⊙ hₜ₋₁`
    (Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network architectures"). Where inputs
    are not H wide, `W xₜ` takes the place of `xₜ` in the candidate; the paper has inputs of that width alone.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity in place of each tanh.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, or `[D, 3, H]` with that W,
        `recurrent_kernel [H, 2, H]` of `r` and the candidate, `bias [2, H]` of `r` and `z`, and `recurrent_bias [H]`,
        `b_h`, which starts at zero.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mut1(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        r, z, x = (z.astype(h.dtype) for z in zs)
        r, z = gate_activation(r + dot(h, U[:, 0])), gate_activation(z)
        b_h = align(params["recurrent_bias"], x) if "recurrent_bias" in params else 0
        n = activation(dot(r * h, U[:, 1]) + activation(x) + b_h)
        h = z * n + (1 - z) * h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    extra = {"recurrent_bias": initializers.zeros} if options["use_bias"] else None
    cell = step_cell(step, features, HiddenCarry, gates=("r", "z", "x"), extra=extra, **options)
    cell = partial_gates(cell, 3, recurrent_kernel=2, bias=2, passes_input=True)
    return cell._replace(cast=cast("recurrent_kernel"))


@checked
def mut2(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes the second mutated unit, whose reset gate sees the input itself; the output is `hₜ`.

    `z = σ(W xₜ + U hₜ₋₁ + b)`, `r = σ(xₜ + U hₜ₋₁ + b)`, and `hₜ = z ⊙ tanh(W xₜ + U (r ⊙ hₜ₋₁) + b) + (1 − z) ⊙ hₜ₋₁`
    (Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network architectures"). Where inputs
    are not H wide, `W xₜ` takes the place of `xₜ` in `r`; the paper has inputs of that width alone.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity in place of each tanh.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, or `[D, 3, H]` with that W,
        `recurrent_kernel [H, 3, H]` and `bias [3, H]`. Their gates are `z`, the candidate and `r`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mut2(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        z, n, r = (z.astype(h.dtype) for z in zs)
        z, r = gate_activation(z + dot(h, U[:, 0])), gate_activation(r + dot(h, U[:, 2]))
        n = activation(n + dot(r * h, U[:, 1]))
        h = z * n + (1 - z) * h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("z", "n", "r"), **options)
    return partial_gates(cell, 3, passes_input=True)._replace(cast=cast("recurrent_kernel"))


@checked
def mut3(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes the third mutated unit, a GRU whose update gate sees `tanh(hₜ₋₁)`; the output is `hₜ`.

    `z = σ(W xₜ + U tanh(hₜ₋₁) + b)`, `r = σ(W xₜ + U hₜ₋₁ + b)`, and
    `hₜ = z ⊙ tanh(W xₜ + U (r ⊙ hₜ₋₁) + b) + (1 − z) ⊙ hₜ₋₁` (Jozefowicz, Zaremba & Sutskever 2015, "An empirical
    exploration of recurrent network architectures").

    Args:
      features: H, the width of the state.
      activation: the nonlinearity in place of each tanh.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, `recurrent_kernel [H, 3, H]` and
        `bias [3, H]`. Their gates are `z`, `r` and the candidate.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mut3(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot, U, h = partial(product, dtype=zs[0].dtype), params["recurrent_kernel"], carry.h
        z, r, n = (z.astype(h.dtype) for z in zs)
        z, r = gate_activation(z + dot(activation(h), U[:, 0])), gate_activation(r + dot(h, U[:, 1]))
        n = activation(n + dot(r * h, U[:, 2]))
        h = z * n + (1 - z) * h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("z", "r", "n"), **options)
    return cell._replace(cast=cast("recurrent_kernel"))
