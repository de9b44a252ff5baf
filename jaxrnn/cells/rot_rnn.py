"""Defines the rotation RNN.

Parameters: `kernel [D, 2, N]`, which writes the two coordinates of each plane, `nu [heads]`, `theta [N]`, `readout [N,
2, H]`, which reads them, and `skip [D, H]`.
"""

import math
from typing import Unpack

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.cell_options import DTypeOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.linear import gate_inputs, linear_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params


@checked
def rot_rnn(
    features: int,
    *,
    states: int | None = None,
    heads: int = 4,
    gamma_min: float = 0.9,
    gamma_max: float = 0.999,
    max_phase: float = 2 * math.pi,
    **options: Unpack[DTypeOptions],
) -> Cell:
    """Makes a rotation RNN: in each step a head turns its state and shrinks it, and its input is scaled to make up.

    `hₜ = γ A hₜ₋₁ + ξ B uₜ` per head with a rotation `A = P Θ Pᵀ` and `ξ = √((1 − γ²) / tr(BᵀB))`, and
    `yₜ = C hₜ + D uₜ` of all heads, with the input `uₜ` (Biegun et al. 2024, "RotRNN: modelling long sequences with
    rotations"). Inputs without correlation and of variance 1 hold the mean square length of `hₜ` at 1, whatever the
    parameters. `Θ` turns pairs of coordinates by the angles θ, and `γ = exp(−exp(ν))`. The paper learns the orthogonal
    `P`, too; here the state is `Pᵀ hₜ`, and `kernel` and `readout` are `Pᵀ B` and `C P`, which changes neither outputs
    nor ξ. At first `ν` is uniform, such that γ lies between `gamma_min` and `gamma_max`, θ is uniform between 0 and
    `max_phase`, and matrices are normal with the variance of their inputs.

    Args:
      features: H, the width of the output.
      states: N, the number of planes in all heads, each with two coordinates of the state; H if None.
      heads: the number of parts of the state with a γ and a ξ of their own; it divides `states`.
      gamma_min: the least γ at first.
      gamma_max: the greatest.
      max_phase: the greatest angle at first, in radians.
      **options: see `DTypeOptions`.

    Returns:
      A `Cell` with carry `ComplexCarry(real, imag)`, the two coordinates in each plane.

    Raises:
      ValueError: `features`, `states` or `heads` is not a positive int; `heads` does not divide `states`; not
        `0 < gamma_min < gamma_max < 1`; `max_phase` is not above 0.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.rot_rnn(8, states=16, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.real.shape
      ((5, 2, 8), (2, 16))
    """
    n = features if states is None else states
    if n % heads:
        raise ValueError(f"rot_rnn: heads is {heads}, expected a divisor of states, {n}")
    if not 0 < gamma_min < gamma_max < 1:
        raise ValueError(
            f"rot_rnn: gamma_min is {gamma_min} and gamma_max {gamma_max}, expected 0 < gamma_min < gamma_max < 1"
        )
    if not max_phase > 0:
        raise ValueError(f"rot_rnn: max_phase is {max_phase}, expected an angle above 0")
    param_dtype = options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        wide = accumulator(param_dtype)
        k_nu, k_theta, k_kernel, k_readout, k_skip = jax.random.split(key, 5)
        slowest, fastest = (math.log(-math.log(gamma)) for gamma in (gamma_max, gamma_min))
        params = {
            "nu": jax.random.uniform(k_nu, (heads,), wide, slowest, fastest),
            "theta": jax.random.uniform(k_theta, (n,), wide, 0, max_phase),
            "kernel": jax.random.normal(k_kernel, (in_features, 2, n), wide) / math.sqrt(in_features),
            "readout": jax.random.normal(k_readout, (n, 2, features), wide) / math.sqrt(2 * n),
            "skip": jax.random.normal(k_skip, (in_features, features), wide) / math.sqrt(in_features),
        }
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def by_state(of_heads: Array) -> Array:
        # Explicit mode does not know how to lay out what `repeat` returns.
        return jnp.broadcast_to(of_heads[:, None], (heads, n // heads)).reshape(n)

    def decay(params: Params) -> Array:
        gamma, theta = by_state(jnp.exp(-jnp.exp(params["nu"]))), params["theta"]
        return lax.complex(gamma * jnp.cos(theta), gamma * jnp.sin(theta))

    def gates(params: Params, xs: Array) -> Array:
        trace = (params["kernel"] ** 2).sum((0, 1)).reshape(heads, -1).sum(1)
        scale = by_state(jnp.sqrt(-jnp.expm1(-2 * jnp.exp(params["nu"])) / trace))
        return lax.complex(*(align(scale, part) * part for part in gate_inputs(params, xs)))

    def readout(params: Params, h: Array, xs: Array) -> Array:
        C = params["readout"]
        ys = product(h.real, C[:, 0], xs.dtype) + product(h.imag, C[:, 1], xs.dtype)
        return ys + product(xs, params["skip"], xs.dtype)

    return linear_cell(gates, init, n, decay=decay, readout=readout, complex_state=True, dtype=options["dtype"])
