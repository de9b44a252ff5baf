"""`skip` makes a layer of a cell that learns which steps it may leave out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import initializers, trees
from jaxrnn.carries import serializable
from jaxrnn.initializers import Initializer
from jaxrnn.layers.costed import costed, opened
from jaxrnn.layers.width import width_of_cell
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.followed import surrounding
from jaxrnn.shapes import zeros
from jaxrnn.types import Array, Carry, Cell, Layer, Noise, Params


@serializable
class SkipCarry(NamedTuple):
    """The carry of `skip`.

    Attributes:
      cell: the carry of the cell.
      y: `[*batch, H]`, the output of the last step that was not left out.
      idle: `[*batch]`, 1 − ũ: at 0.5 or less, the next step runs the cell.
    """

    cell: Carry
    y: Array
    idle: Array


@checked
def skip(
    cell: Cell,
    *,
    update_bias: float = 1.0,
    kernel_init: Initializer = initializers.lecun_normal,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer of a cell that learns which steps to leave out: the state and the output then stay.

    (Campos et al. 2018, "Skip RNN: learning to skip state updates in recurrent neural networks".) With h the output,

        uₜ = round(ũₜ)
        (sₜ, hₜ) = cell(sₜ₋₁, xₜ) if uₜ else (sₜ₋₁, hₜ₋₁)
        δₜ = σ(wᵀ hₜ + b)
        ũₜ₊₁ = δₜ if uₜ else ũₜ + min(δₜ, 1 − ũₜ)

    and ũ is 1 at first. The gradient takes rounding for the identity (a straight-through estimate). The cost
    `"updates"` of `unroll_with_aux` is the mean of u over the valid steps: a loss adds it times a small factor, without
    which the layer has no reason to leave out a step. Each step is computed, for shapes are fixed; a program of single
    steps that looks at `idle` first can save it.

    Parameters are `{"cell": …, "update": {"kernel": [H, 1], "bias": [1]}}`.

    Args:
      cell: the recurrence; its input is one vector per step.
      update_bias: b before training; a larger one begins with more updates.
      kernel_init: draws the kernel of the gate, which is computed in float32 at least.
      param_dtype: of the parameters of the gate.

    Returns:
      A `Layer` with a `step`, carry `SkipCarry(cell, y, idle)` and the outputs of `cell`.

    Raises:
      ValueError: `cell` is not a cell of vectors, or an option is out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.skip(jaxrnn.gru(8)), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> carry, ys, aux = jaxrnn.unroll_with_aux(model, params, jnp.ones((6, 2, 3)))
      >>> ys.shape, bool(0 < aux["updates"] <= 1)
      ((6, 2, 2), True)
    """
    trees.check_vectors("skip", cell)
    features = width_of_cell("skip", cell)
    return costed(
        "skip",
        cell,
        lambda drawn: _skipping(drawn, features),
        "updates",
        gate="update",
        extra_features=0,
        offset=update_bias,
        kernel_init=kernel_init,
        param_dtype=param_dtype,
    )


def _skipping(cell: Cell, features: int) -> Cell:
    """Returns the cell that leaves out steps of `cell`; its outputs are `(y, u)`."""

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> SkipCarry:
        wide = accumulator(jnp.result_type(*jax.tree.leaves(params)))
        y, idle = zeros((*batch_shape, features), wide), zeros(tuple(batch_shape), wide)
        return SkipCarry(cell.init_carry(params["cell"], batch_shape), y, idle)

    def project(params: Params, xs: Array) -> Any:
        return cell.project(params["cell"], xs)

    def step(params: Params, carry: SkipCarry, z: Any, *noise: Noise) -> tuple[SkipCarry, Any]:
        update = 1 - carry.idle
        after, y = cell.step(params["cell"], carry.cell, z, *noise)
        inner = jax.tree.map(lambda old, new: _chosen(update, new, old), carry.cell, after)
        kept = _chosen(update, y.astype(carry.y.dtype), carry.y)
        delta = opened(params["update"], kept).astype(update.dtype)
        idle = jnp.where(_rounded(update), 1 - delta, carry.idle - jnp.minimum(delta, carry.idle))
        used = _chosen(update, jnp.ones_like(update), jnp.zeros_like(update))
        return SkipCarry(inner, kept, idle), (kept.astype(y.dtype), used)

    return surrounding(
        cell, lambda drawn: _skipping(drawn, features), init_carry=init_carry, project=project, step=step
    )


def _rounded(update: Array) -> Array:
    return update >= 0.5


def _chosen(update: Array, new: Array, old: Array) -> Array:
    """Returns `u new + (1 − u) old` for the rounded u, whose gradient is that of `update`.

    Infinite states have no difference, so they have no gradient in u.
    """
    u = update.reshape(update.shape + (1,) * (new.ndim - update.ndim))
    old = old.astype(new.dtype)
    chosen = jnp.where(_rounded(u), new, old)
    if not jnp.issubdtype(new.dtype, jnp.inexact):
        return chosen
    difference = jax.lax.stop_gradient(new - old)
    zero = (u - jax.lax.stop_gradient(u)).astype(new.dtype)
    return chosen + zero * jnp.where(jnp.isfinite(difference), difference, 0)
