"""Defines the selective state space of Mamba, S6.

Parameters: `kernel [D, 1, H]`, `input`, `read [H, N]`, `step_down [H, R]`, `step_up [R, H]`, `step_bias`, `skip [H]`,
`log_rate [H, N]`.
"""

import math
from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import softplus

from jaxrnn import checks, initializers
from jaxrnn.cell_options import KernelOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.linear import linear_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params


@checked
def mamba(
    features: int,
    *,
    states: int = 16,
    rank: int | None = None,
    dt_min: float = 0.001,
    dt_max: float = 0.1,
    use_value_kernel: bool = True,
    **options: Unpack[KernelOptions],
) -> Cell:
    """Makes a selective state space: N states per feature, whose step size, input and output depend on the input.

    `Δₜ = softplus(W_up W_down uₜ + b)`, `Bₜ = W_B uₜ`, `Cₜ = W_C uₜ`, `A = −exp(log_rate)`,
    `hₜ = exp(Δₜ A) ⊙ hₜ₋₁ + (Δₜ ⊙ uₜ) Bₜᵀ`, `yₜ = hₜ Cₜ + d ⊙ uₜ` (Gu & Dao 2023, "Mamba: linear-time sequence modeling
    with selective state spaces"). `uₜ = W xₜ` is the linear layer before the operation there; `mamba_block` has the
    short convolution and the gated branch around it, too. At first `−A` is 1, 2, … N in each feature (S4D-real),
    `softplus(b)` is log-uniform between `dt_min` and `dt_max`, and `d` is 1.

    `"auto"` on the CPU stores the states `hₜ` of one segment at a time; all else stores `[T, *batch, H * N]`, unless
    `remat` reduces it.

    Args:
      features: H, the width of `uₜ` and of the output.
      states: N, the states of each feature.
      rank: R, the rank of the kernel of step sizes; `H / 16`, rounded up, if None.
      dt_min: the least step `Δ` at first.
      dt_max: the greatest.
      use_value_kernel: whether `uₜ` is a linear layer of the input; without it `uₜ = xₜ`, which has to be H wide.
      **options: see `KernelOptions`; `kernel_init` draws `W`, `W_B`, `W_C` and `W_down`, each as a matrix. `W_up` is
        uniform between `±1 / √R`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`, `h [*batch, H * N]`.

    Raises:
      ValueError: `features`, `states` or `rank` is not a positive int; not `0 < dt_min < dt_max`. `init` raises it for
        inputs that are not H wide, without a value kernel.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mamba(8, states=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 32))
    """
    rank = math.ceil(features / 16) if rank is None else rank
    checks.check_time_steps("mamba", dt_min, dt_max)

    kernel_init, param_dtype = options["kernel_init"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_input, k_read, k_down, k_up, k_dt = jax.random.split(key, 6)
        wide = accumulator(param_dtype)
        steps = initializers.step_params(k_dt, features, dt_min=dt_min, dt_max=dt_max, param_dtype=wide)
        params = {
            "input": kernel_init(k_input, (features, states), wide),
            "read": kernel_init(k_read, (features, states), wide),
            "step_down": kernel_init(k_down, (features, rank), wide),
            "step_up": jax.random.uniform(k_up, (rank, features), wide, -(rank**-0.5), rank**-0.5),
            "step_bias": steps["step_bias"],
            "log_rate": jnp.tile(jnp.log(jnp.arange(1, states + 1, dtype=wide)), (features, 1)),
            "skip": jnp.ones(features, wide),
        }
        if use_value_kernel:
            params["kernel"] = kernel_init(k_kernel, (in_features, features), wide)[:, None]
        else:
            checks.check_as_wide("mamba", in_features, features)
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def value(params: Params, xs: Array) -> Array:
        return product(xs, params["kernel"][:, 0], xs.dtype) if use_value_kernel else xs.astype(accumulator(xs.dtype))

    def gates(params: Params, xs: Array) -> tuple[Array, Array]:
        u = value(params, xs)
        steps = product(product(u, params["step_down"], xs.dtype), params["step_up"], xs.dtype)
        dt = softplus(steps + align(params["step_bias"], steps))
        dt_by_state = dt[..., None]
        a = jnp.exp(-dt_by_state * align(jnp.exp(params["log_rate"]), dt_by_state))
        b = (dt * u)[..., None] * product(u, params["input"], xs.dtype)[..., None, :]
        return a.reshape(*u.shape[:-1], features * states), b.reshape(*u.shape[:-1], features * states)

    def readout(params: Params, h: Array, xs: Array) -> Array:
        u = value(params, xs)
        read = product(u, params["read"], xs.dtype)
        h = h.reshape(*h.shape[:-1], features, states)
        return (h * read[..., None, :].astype(h.dtype)).sum(-1) + align(params["skip"], u) * u

    return linear_cell(gates, init, features * states, readout=readout, dtype=options["dtype"])
