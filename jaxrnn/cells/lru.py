"""Defines the linear recurrent unit. `kernel [D, 2, N]` has the real and imaginary parts of a complex matrix."""

import math
from typing import Literal, Unpack

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
def lru(
    features: int,
    *,
    states: int | None = None,
    eigenvalues: Literal["complex", "signed", "positive"] = "complex",
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
    **options: Unpack[DTypeOptions],
) -> Cell:
    """Makes a linear recurrent unit: a diagonal linear system, initialised on a ring in the complex plane.

    `hₜ = λ ⊙ hₜ₋₁ + exp(γ) ⊙ (B xₜ)`, `yₜ = Re(C hₜ) + D xₜ` with `λ = exp(−exp(ν) + i exp(θ))` (Orvieto et al. 2023,
    "Resurrecting recurrent neural networks for long sequences"). At first `|λ|²` is uniform between `r_min²` and
    `r_max²`, the phase between 0 and `max_phase`, and `exp(γ) = √(1 − |λ|²)`, learned from there.

    The state is real with `eigenvalues="positive"`, `λ = exp(−exp(ν))`, and with `"signed"`, `λ = tanh(ν)` with random
    signs; without negative or complex eigenvalues a layer cannot compute parity.

    Args:
      features: H, the width of the output.
      states: N, the width of the state; H if None.
      eigenvalues: the range of λ: the complex unit disc, (−1, 1) or (0, 1).
      r_min: the least |λ| at first.
      r_max: the greatest.
      max_phase: the greatest phase at first, in radians.
      **options: see `DTypeOptions`.

    Returns:
      A `Cell` with carry `ComplexCarry(real, imag)`, or `HiddenCarry(h)` for real eigenvalues.

    Raises:
      ValueError: `features` or `states` is not a positive int; unknown `eigenvalues`; not `0 ≤ r_min < r_max ≤ 1`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lru(8, states=16, r_min=0.9)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.real.shape
      ((5, 2, 8), (2, 16))
    """
    n = features if states is None else states
    if not 0 <= r_min < r_max <= 1:
        raise ValueError(f"lru: r_min is {r_min} and r_max {r_max}, expected 0 <= r_min < r_max <= 1")
    if not max_phase > 0:
        raise ValueError(f"lru: max_phase is {max_phase}, expected an angle above 0")
    parts = 2 if eigenvalues == "complex" else 1

    param_dtype = options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        wide = accumulator(param_dtype)
        k_radius, k_phase, k_kernel, k_readout, k_skip = jax.random.split(key, 5)
        tiny = float(jnp.finfo(wide).tiny)
        squared = jax.random.uniform(k_radius, (n,), wide, max(r_min**2, tiny), r_max**2)
        params = {"nu": jnp.log(-jnp.log(squared) / 2), "gamma": jnp.log1p(-squared) / 2}
        if eigenvalues == "signed":
            params["nu"] = jnp.arctanh(jnp.sqrt(squared)) * jax.random.rademacher(k_phase, (n,), wide)
        if eigenvalues == "complex":
            params["theta"] = jnp.log(jax.random.uniform(k_phase, (n,), wide, tiny, max_phase))
        params["kernel"] = jax.random.normal(k_kernel, (in_features, parts, n), wide) / math.sqrt(parts * in_features)
        params["readout"] = jax.random.normal(k_readout, (n, parts, features), wide) / math.sqrt(n)
        params["skip"] = jax.random.normal(k_skip, (in_features, features), wide) / math.sqrt(in_features)
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def decay(params: Params) -> Array:
        if eigenvalues == "signed":
            return jnp.tanh(params["nu"])
        radius = jnp.exp(-jnp.exp(params["nu"]))
        if eigenvalues == "positive":
            return radius
        phase = jnp.exp(params["theta"])
        return lax.complex(radius * jnp.cos(phase), radius * jnp.sin(phase))

    def gates(params: Params, xs: Array) -> Array:
        scaled = [align(jnp.exp(params["gamma"]), part) * part for part in gate_inputs(params, xs)]
        return lax.complex(*scaled) if parts == 2 else scaled[0]

    def readout(params: Params, h: Array, xs: Array) -> Array:
        C = params["readout"]
        ys = product(h.real, C[:, 0], xs.dtype) + product(xs, params["skip"], xs.dtype)
        return ys - product(h.imag, C[:, 1], xs.dtype) if parts == 2 else ys

    return linear_cell(
        gates, init, n, decay=decay, readout=readout, complex_state=eigenvalues == "complex", dtype=options["dtype"]
    )
