"""Defines the simple recurrent unit. Gate order: `f r x` (forget, highway, candidate), and `s` (skip) if D ≠ H."""

import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Array, Cell, Params

GATES = 2  # `f` and `r` see the state


def unit_uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draws numbers of mean 0 and variance 1."""
    return jax.random.uniform(key, shape, dtype, -math.sqrt(3), math.sqrt(3))


@checked
@defaults(kernel_init=jax.nn.initializers.lecun_uniform(), recurrent_kernel_init=unit_uniform)
def sru(features: int, *, highway_bias: float = 0.0, rescale: bool = True, **options: Unpack[CellOptions]) -> Cell:
    """Makes a simple recurrent unit, whose gates see only the cell state of their own feature.

    `fₜ = σ(W_f xₜ + v_f ⊙ cₜ₋₁ + b_f)`, `rₜ = σ(W_r xₜ + v_r ⊙ cₜ₋₁ + b_r)`, `cₜ = fₜ ⊙ cₜ₋₁ + (1 − fₜ) ⊙ W xₜ`, and
    the output is `rₜ ⊙ cₜ + α (1 − rₜ) ⊙ xₜ` (Lei et al. 2018, "Simple recurrent units for highly parallelizable
    recurrence"). Where inputs are not H wide, `W_s xₜ` takes the place of `α xₜ`.

    Args:
      features: H, the width of the cell state and of the output.
      highway_bias: the number added to the initial bias of `r`: below zero, more of the input passes.
      rescale: whether `α = √(1 + 2 exp(highway_bias))`, which keeps the variance of the input in a deep stack, and
        scales the initial `W_s`; otherwise 1.
      **options: see `CellOptions`; the parameters are `kernel [D, 3, H]`, or `[D, 4, H]` with `W_s`, the vectors `v_f`
        and `v_r`, `recurrent_kernel [2, H]`, and `b_f` and `b_r`, `bias [2, H]`. By default `kernel_init` is LeCun's
        uniform one, and `recurrent_kernel_init` uniform of variance 1. `W_f`, `W_r` and both vectors are multiplied by
        `√½`, as in the authors' implementation.

    Returns:
      A `Cell` of structure `"diagonal"` with carry `HiddenCarry(h)`, where `h` is the cell state `c`, not the output.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.sru(8)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape, params["kernel"].shape
      ((5, 2, 8), (8, 3, 8))
    """
    scale = math.sqrt(1 + 2 * math.exp(highway_bias)) if rescale else 1.0

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        f, r, x, skip = gates
        c = sigmoid(f) * carry.h + sigmoid(-f) * x
        return HiddenCarry(c), sigmoid(r) * c + sigmoid(-r) * skip

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
        param_dtype = options["param_dtype"]
        gates, wide = 3 if in_features == features else 4, accumulator(param_dtype)
        sizes = jnp.array([math.sqrt(0.5), math.sqrt(0.5), 1, scale][:gates], wide)[None, :, None]
        kernel = initializers.per_gate(options["kernel_init"], k_kernel, in_features, gates, features, wide)
        recurrent = options["recurrent_kernel_init"](k_recurrent, (GATES, features), wide) * math.sqrt(0.5)
        params = {"kernel": (sizes * kernel).astype(param_dtype), "recurrent_kernel": recurrent.astype(param_dtype)}
        if options["use_bias"]:
            bias_init = initializers.gate_offset(options["bias_init"], 1, highway_bias)
            params["bias"] = bias_init(k_bias, (GATES, features), param_dtype)
        return params

    def whole(params: Params) -> Params:
        """Gives the engine each parameter for all four gates."""
        kernel = params["kernel"]
        if kernel.shape[1] == 3:
            kernel = jnp.concatenate([kernel, scale * jnp.eye(features, dtype=kernel.dtype)[:, None]], axis=1)
        rest = {name: jnp.pad(p, ((0, 4 - GATES), (0, 0))) for name, p in params.items() if name != "kernel"}
        return {"kernel": kernel, **rest}

    gates, known = ("f", "r", "x", "s"), {"f": sigmoid, "r": sigmoid}
    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=gates, activations=known, **options)
    return reparametrized(cell, init, whole)._replace(structure="diagonal")
