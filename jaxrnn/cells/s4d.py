"""Defines the diagonal state space of S4D, with a system of its own for each feature.

Parameters: `kernel [D, 1, H]`, `log_rate`, `lambda_imag [H, N]`, `log_dt`, `skip [H]` and `modes [2, H, N]`, the real
and the imaginary part of a complex matrix.
"""

import math
from typing import Literal, Unpack

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.cell_options import KernelOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.linear import complex_times, gate_inputs, linear_cell, zero_order_hold
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params


@checked
def s4d(
    features: int,
    *,
    states: int = 32,
    frequencies: Literal["linear", "inverse"] = "linear",
    dt_min: float = 0.001,
    dt_max: float = 0.1,
    **options: Unpack[KernelOptions],
) -> Cell:
    """Makes a diagonal state space: a system of N complex states for each feature, all with the same input.

    `hₜ = exp(Δ A) ⊙ hₜ₋₁ + (exp(Δ A) − 1) / A ⊙ uₜ`, `yₜ = 2 Re(C hₜ) + d uₜ` in each feature, with `uₜ = W xₜ`: the
    system `h′ = A h + u`, whose input is constant for a step of `Δ` (Gu et al. 2022, "On the parameterization and
    initialization of diagonal state space models", with 1 for `B`). There `W` comes after the system, with a
    nonlinearity between them. `A = −exp(log_rate) + i lambda_imag`; at first it is `−1/2 + iπn` for n from 0
    (S4D-Lin), or `−1/2 + i 2N/π (2N / (2n + 1) − 1)` (S4D-Inv). `C` and `d` are normal with variance 1, and `Δ` is
    log-uniform.

    Args:
      features: H, the width of `uₜ` and of the output.
      states: N, the complex states of each feature, each of which stands for a conjugate pair.
      frequencies: those of A at first: `"linear"` is S4D-Lin, `"inverse"` S4D-Inv.
      dt_min: the least step Δ at first.
      dt_max: the greatest.
      **options: see `KernelOptions`; `kernel_init` draws `W`.

    Returns:
      A `Cell` with carry `ComplexCarry(real, imag)`, both `[*batch, H * N]`.

    Raises:
      ValueError: `features` or `states` is not a positive int; unknown `frequencies`; not `0 < dt_min < dt_max`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.s4d(8, states=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.real.shape
      ((5, 2, 8), (2, 32))
    """
    checks.check_time_steps("s4d", dt_min, dt_max)
    kernel_init, param_dtype = options["kernel_init"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        wide = accumulator(param_dtype)
        k_kernel, k_dt, k_modes, k_skip = jax.random.split(key, 4)
        n, width = jnp.arange(states, dtype=wide), 2 * states
        imag = math.pi * n if frequencies == "linear" else width / math.pi * (width / (2 * n + 1) - 1)
        params = {
            "kernel": kernel_init(k_kernel, (in_features, features), wide)[:, None],
            "log_rate": jnp.full((features, states), math.log(0.5), wide),
            "lambda_imag": jnp.tile(imag, (features, 1)),
            "log_dt": jax.random.uniform(k_dt, (features,), wide, math.log(dt_min), math.log(dt_max)),
            "modes": jax.random.normal(k_modes, (2, features, states), wide) * math.sqrt(0.5),
            "skip": jax.random.normal(k_skip, (features,), wide),
        }
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def system(params: Params) -> tuple[Array, Array]:
        dt = jnp.exp(params["log_dt"])[:, None]
        return zero_order_hold(-jnp.exp(params["log_rate"]), params["lambda_imag"], dt)

    def decay(params: Params) -> Array:
        return system(params)[0].reshape(-1)

    def gates(params: Params, xs: Array) -> Array:
        (u,) = gate_inputs(params, xs)
        by_state = complex_times(system(params)[1], u[..., None])
        return by_state.reshape(*u.shape[:-1], features * states)

    def readout(params: Params, h: Array, xs: Array) -> Array:
        (u,) = gate_inputs(params, xs)
        real, imag = (part.reshape(*part.shape[:-1], features, states) for part in (h.real, h.imag))
        C = params["modes"]
        return 2 * (align(C[0], real) * real - align(C[1], imag) * imag).sum(-1) + align(params["skip"], u) * u

    n = features * states
    return linear_cell(gates, init, n, decay=decay, readout=readout, complex_state=True, dtype=options["dtype"])
