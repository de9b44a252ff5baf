"""Defines a recurrent network as a stable differential equation. Gate order: `h`, and `z` where it is gated."""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params


@checked
@defaults(recurrent_kernel_init=jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal"))
def antisymmetric(
    features: int, *, gated: bool = False, dt: float = 0.1, gamma: float = 0.01, **options: Unpack[CellOptions]
) -> Cell:
    """Makes a cell that steps a differential equation with nearly imaginary eigenvalues, so its state is stable.

    `hₜ = hₜ₋₁ + Δt tanh(V xₜ + A hₜ₋₁ + b)` with `A = W − Wᵀ − γ I`, and the output is `hₜ`. A gate
    `zₜ = σ(V xₜ + A hₜ₋₁ + b)`, with its own V and b but the same A, multiplies the step if `gated` (Chang et al. 2019,
    "AntisymmetricRNN: a dynamical system view on recurrent neural networks"). A run computes A once, before the loop.

    Args:
      features: H, the width of the state.
      gated: whether a gate scales each step.
      dt: Δt > 0, the size of a step (ε in the paper).
      gamma: γ ≥ 0, the diffusion, which makes discrete steps stable.
      **options: see `CellOptions`; V is `kernel [D, 1, H]`, gated `[D, 2, H]`, and b is `bias [1, H]`, gated `[2, H]`.
        W, `recurrent_kernel [H, 1, H]`, is drawn from `N(0, 1 / H)`; half of its H² numbers decide A.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; `dt` is not positive; `gamma` is negative.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.antisymmetric(8, gated=True)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (8, 1, 8))
    """
    if not dt > 0:
        raise ValueError(f"antisymmetric: dt is {dt!r}, expected a step size Δt > 0")
    if not gamma >= 0:
        raise ValueError(f"antisymmetric: gamma is {gamma!r}, expected a diffusion γ ≥ 0")
    gates = ("h", "z") if gated else ("h",)

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # the engine has applied them all
        move = jnp.tanh(gates[0]) * sigmoid(gates[1]) if gated else jnp.tanh(gates[0])
        h = carry.h + dt * move
        return HiddenCarry(h), h

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
        per_gate, shape, dtype = initializers.per_gate, (len(gates), features), options["param_dtype"]
        params = {
            "kernel": per_gate(options["kernel_init"], k_kernel, in_features, *shape, dtype),
            "recurrent_kernel": per_gate(options["recurrent_kernel_init"], k_recurrent, features, 1, features, dtype),
        }
        return params | ({"bias": options["bias_init"](k_bias, shape, dtype)} if options["use_bias"] else {})

    def transform(params: Params) -> Params:
        """Gives the engine a recurrent kernel for each gate, A in place of W."""
        W = params["recurrent_kernel"]  # `heads` makes it block-diagonal
        identity = align(jnp.eye(W.shape[-1], dtype=W.dtype)[:, None], W)
        A = W - jnp.swapaxes(W, -3, -1) - gamma * identity
        return params | {"recurrent_kernel": jnp.repeat(A, len(gates), axis=-2)}

    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=gates, **options)
    return reparametrized(cell, init, transform)
