"""Defines structured state space duality, the recurrence of Mamba-2.

Parameters: `input`, `read [D, 1, K]`, `value`, `gate [D, heads, V]`, `step_kernel [D, 1, heads]`, `step_bias`,
`log_rate`, `skip [heads]`, `scale`, `out [heads, V, H]`.
"""

from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import silu, softplus

from jaxrnn import checks, initializers
from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.matrix import heads_of, jointly_normalized_output, matrix_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params


@checked
def ssd(
    features: int,
    *,
    dt_min: float = 0.001,
    dt_max: float = 0.1,
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes a cell of structured state space duality: a selective state space with one decay per head, as in Mamba-2.

    `Sₜ = exp(−exp(A) Δₜ) Sₜ₋₁ + Bₜ (Δₜ uₜ)ᵀ`, `oₜ = Sₜᵀ Cₜ + d uₜ`, `yₜ = W_o norm(silu(W_z xₜ) ⊙ oₜ)`, with
    `Bₜ, Cₜ, uₜ = silu(W xₜ)`, each with its own weights, the first two shared by all heads, and
    `Δₜ = softplus(W_Δ xₜ + b)` (Dao & Gu 2024, "Transformers are SSMs: generalized models and efficient algorithms
    through structured state space duality"; `matrix_block` adds their short convolution). `norm` divides by the root
    mean square of all heads. At first `exp(A)` is uniform between 1 and 16, `softplus(b)` log-uniform between `dt_min`
    and `dt_max`, and `d` is 1.

    Args:
      features: H, the width of the output.
      dt_min: the least step `Δ` at first.
      dt_max: the greatest.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`, and `keys` is the
        state size of the paper.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; not
        `0 < dt_min < dt_max`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.ssd(8, heads=2, keys=16)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 16, 4))
    """
    heads, keys, values = checks.head_sizes("ssd", features, options)
    checks.check_time_steps("ssd", dt_min, dt_max)

    kernel_init, param_dtype = options["kernel_init"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        k_input, k_read, k_value, k_gate, k_step, k_decay, k_out = jax.random.split(key, 7)
        draw = partial(initializers.per_gate, kernel_init, rows=in_features, dtype=param_dtype)
        return {
            **initializers.step_params(k_decay, heads, dt_min=dt_min, dt_max=dt_max, param_dtype=param_dtype),
            "input": draw(k_input, gates=1, features=keys),
            "read": draw(k_read, gates=1, features=keys),
            "value": draw(k_value, gates=heads, features=values),
            "gate": draw(k_gate, gates=heads, features=values),
            "step_kernel": draw(k_step, gates=1, features=heads),
            "skip": jnp.ones((heads,), param_dtype),
            "scale": jnp.ones((heads, values), param_dtype),
            "out": draw(k_out, rows=heads * values, gates=1, features=features).reshape(heads, values, features),
        }

    def inputs(params: Params, xs: Array, B: Array, C: Array, u: Array) -> dict[str, Array]:
        B, C = (jnp.repeat(silu(a), heads, -2) for a in (B, C))
        steps = heads_of(xs, params["step_kernel"])[..., 0, :]
        dt = softplus(steps + align(params["step_bias"], steps))
        log_decay = align(-jnp.exp(params["log_rate"]), dt) * dt
        return {"q": C, "k": B, "v": dt[..., None] * silu(u), "log_decay": log_decay}

    def readout(params: Params, ys: Array, xs: Array, B: Array, C: Array, u: Array) -> Array:
        del B, C
        ys = silu(heads_of(xs, params["gate"])) * (ys + align(params["skip"][:, None], ys) * silu(u))
        return jointly_normalized_output(params, ys, xs)

    how = {"readout": readout, "chunk": options["chunk"], "dtype": options["dtype"]}
    return matrix_cell(inputs, init, heads, keys, values, mixed=("input", "read", "value"), **how)
