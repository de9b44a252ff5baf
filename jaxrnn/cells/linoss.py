"""Defines the linear oscillatory state space.

Parameters: `kernel [D, 1, N]`, `stiffness`, `dt_logit [N]`, `readout [N, H]` and `skip [D, H]`.
"""

import math
from typing import Literal, Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from jaxrnn.cell_options import DTypeOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.linear import complex_times, gate_inputs, linear_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

SOFTEST = 1e-6  # the stiffness stays above it, since positions are divided by its root
STIFFEST = 3.99  # Δ² A stays below it with the explicit method, which is stable below 4


@checked
def linoss(
    features: int,
    *,
    states: int | None = None,
    discretization: Literal["implicit", "implicit_explicit"] = "implicit",
    **options: Unpack[DTypeOptions],
) -> Cell:
    """Makes a linear oscillatory state space: forced oscillators `x″ = −A x + B u`, which do not see one another.

    `zₜ = zₜ₋₁ + Δ (−A x + B uₜ)`, `xₜ = xₜ₋₁ + Δ zₜ`, `yₜ = C xₜ + D uₜ` with the input `uₜ`, where `x` is `xₜ` by the
    implicit method, which loses energy at high frequencies, and `xₜ₋₁` by the implicit-explicit one, which keeps it
    (Rusch & Rus 2025, "Oscillatory state-space models"). `A` is `relu(stiffness)`, though at least 1e-6, and at most
    `3.99 / Δ²` by the second method, which is stable up to `4 / Δ²`; `Δ = σ(dt_logit)`. At first both parameters are
    uniform between 0 and 1, `B` and `C` between `±1 / √inputs` of each.

    The carry has position and velocity of an oscillator as one complex number, with which a step is elementwise,
    `ζₜ = λ (ζₜ₋₁ + Δ B uₜ)`. By the implicit method `ζ = z + i√A x` and `λ = 1 / (1 − iΔ√A)`; by the other one
    `ζ = z + (λ − 1) / Δ x` and `λ = exp(iφ)` with `sin(φ / 2) = Δ√A / 2`.

    Args:
      features: H, the width of the output.
      states: N, the number of oscillators; H if None.
      discretization: the method by which steps follow from the equation.
      **options: see `DTypeOptions`.

    Returns:
      A `Cell` with carry `ComplexCarry(real, imag)`, the two parts of `ζ`.

    Raises:
      ValueError: `features` or `states` is not a positive int; unknown `discretization`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linoss(8, states=16)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.real.shape
      ((5, 2, 8), (2, 16))
    """
    n = features if states is None else states
    param_dtype = options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        wide = accumulator(param_dtype)
        k_stiffness, k_dt, k_kernel, k_readout, k_skip = jax.random.split(key, 5)

        def draw(key: Array, rows: int, columns: int) -> Array:
            return jax.random.uniform(key, (rows, columns), wide, -1, 1) / math.sqrt(rows)

        params = {
            "stiffness": jax.random.uniform(k_stiffness, (n,), wide),
            "dt_logit": jax.random.uniform(k_dt, (n,), wide),
            "kernel": draw(k_kernel, in_features, n)[:, None],
            "readout": draw(k_readout, n, features),
            "skip": jax.random.normal(k_skip, (in_features, features), wide) / math.sqrt(in_features),
        }
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def system(params: Params) -> tuple[Array, Array, Array]:
        """Returns `Δ`, `λ`, and `s` in `Im ζ = s x`."""
        dt, stiffness = sigmoid(params["dt_logit"]), jnp.maximum(params["stiffness"], SOFTEST)
        if discretization == "implicit":
            frequency = jnp.sqrt(stiffness)
            shrink = 1 / (1 + dt**2 * stiffness)
            return dt, lax.complex(shrink, shrink * dt * frequency), frequency
        stiffness = jnp.minimum(stiffness, STIFFEST / dt**2)
        scale = jnp.sqrt(stiffness * (1 - dt**2 * stiffness / 4))
        return dt, lax.complex(1 - dt**2 * stiffness / 2, dt * scale), scale

    def decay(params: Params) -> Array:
        return system(params)[1]

    def gates(params: Params, xs: Array) -> Array:
        (force,) = gate_inputs(params, xs)
        dt, multiplier, _ = system(params)
        return complex_times(multiplier, align(dt, force) * force)

    def readout(params: Params, h: Array, xs: Array) -> Array:
        _, _, scale = system(params)
        position = h.imag / align(scale, h.imag)
        return product(position, params["readout"], xs.dtype) + product(xs, params["skip"], xs.dtype)

    return linear_cell(gates, init, n, decay=decay, readout=readout, complex_state=True, dtype=options["dtype"])
