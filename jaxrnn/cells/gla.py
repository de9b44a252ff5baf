"""Defines gated linear attention.

Parameters: `query`, `key [D, heads, K]`, `value`, `gate [D, heads, V]`, `scale [heads, V]`, `out [heads, V, H]`; for
decays `decay_down [D, 1, 16]`, `decay_up [16, heads, K]` and `decay_bias [heads, K]`.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid

from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.matrix import gated_output, heads_from, heads_of, low_rank, matrix_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

RANK = 16  # of the kernel of the decays
TEMPERATURE = 16  # log decays are divided by it: forgetting begins slowly


@checked
def gla(features: int, **options: Unpack[MatrixOptions]) -> Cell:
    """Makes a cell of gated linear attention, with a decay per key channel.

    `Sₜ = αₜ ⊙ Sₜ₋₁ + kₜ vₜᵀ`, `oₜ = Sₜᵀ qₜ / √K`, `yₜ = W_o (silu(W_g xₜ) ⊙ norm(oₜ))` per head, with
    `qₜ, kₜ, vₜ = W xₜ`, each with its own weights, and `αₜ = σ(W₂ W₁ xₜ + b)^(1/16)` of rank 16 (Yang et al. 2024,
    "Gated linear attention transformers with hardware-efficient training"). `norm` divides by the root mean square.

    Args:
      features: H, the width of the output.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gla(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """
    heads, keys, values, kernels, draw = heads_from("gla", features, options)

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_gate, k_down, k_up = jax.random.split(key, 4)
        return {
            **kernels(k_heads, in_features),
            "gate": draw(k_gate, in_features, heads, values),
            "decay_down": draw(k_down, in_features, 1, RANK),
            "decay_up": draw(k_up, RANK, heads, keys),
            "decay_bias": jnp.zeros((heads, keys), options["param_dtype"]),
        }

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        q, k, v = (heads_of(xs, params[name]) for name in ("query", "key", "value"))
        gate = low_rank(xs, params["decay_down"], params["decay_up"])
        log_decay = log_sigmoid(gate + align(params["decay_bias"], gate)) / TEMPERATURE
        return {"q": q * keys**-0.5, "k": k, "v": v, "log_decay": log_decay}

    return matrix_cell(
        inputs, init, heads, keys, values, readout=gated_output, chunk=options["chunk"], dtype=options["dtype"]
    )
