"""Defines linear attention, which forgets nothing, and retention, which forgets at a fixed rate.

Parameters: `query`, `key [D, heads, K]`, `value [D, heads, V]` and `out [heads, V, H]`; retention has
`gate [D, heads, V]` and `scale [heads, V]`, too.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import elu

from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.matrix import gated_output, heads_from, heads_of, matrix_cell, merged
from jaxrnn.types import Array, Cell, Params

EPSILON = 1e-6  # is added to the normaliser, as the authors' code does: a step under a mask has none


@checked
def linear_attention(features: int, **options: Unpack[MatrixOptions]) -> Cell:
    """Makes a cell of linear attention with a normaliser: a mean of all values so far, weighted by their keys.

    `Sₜ = Sₜ₋₁ + φ(kₜ) vₜᵀ`, `zₜ = zₜ₋₁ + φ(kₜ)`, `oₜ = Sₜᵀ φ(qₜ) / (zₜᵀ φ(qₜ) + 1e-6)`, `yₜ = W_o oₜ` per head, with
    `φ(x) = elu(x) + 1` and `qₜ, kₜ, vₜ = W xₜ`, each with its own weights (Katharopoulos et al. 2020, "Transformers are
    RNNs: fast autoregressive transformers with linear attention"). The carry's last column is `z`.

    Args:
      features: H, the width of the output.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`, whose matrices `[S z]` have V + 1 columns.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.linear_attention(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 5))
    """
    heads, keys, values, kernels, _ = heads_from("linear_attention", features, options)

    def init(key: Array, in_features: int) -> Params:
        return {name: p for name, p in kernels(key, in_features).items() if name != "scale"}

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        q, k, v = (heads_of(xs, params[name]) for name in ("query", "key", "value"))
        return {"q": elu(q) + 1, "k": elu(k) + 1, "v": jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)}

    def readout(params: Params, ys: Array, xs: Array) -> Array:
        return merged(ys[..., :-1] / (ys[..., -1:] + EPSILON), params["out"], xs.dtype)

    return matrix_cell(
        inputs, init, heads, keys, values + 1, readout=readout, chunk=options["chunk"], dtype=options["dtype"]
    )


@checked
def retention(features: int, **options: Unpack[MatrixOptions]) -> Cell:
    """Makes a cell of retention: linear attention with a fixed decay per head.

    `Sₜ = γ Sₜ₋₁ + kₜ vₜᵀ`, `oₜ = Sₜᵀ qₜ / √K`, `yₜ = W_o (silu(W_g xₜ) ⊙ norm(oₜ))` per head, with `qₜ, kₜ, vₜ = W xₜ`,
    each with its own weights, and `γ = 1 − 2^(−5 − i)` in head `i` from 0 (Sun et al. 2023, "Retentive network: a
    successor to transformer for large language models"). `norm` divides by the root mean square, as the authors' code
    does. The paper rotates queries and keys by their position, too; a cell does not know it, and rotates nothing.

    Args:
      features: H, the width of the output.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.retention(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """
    heads, keys, values, kernels, draw = heads_from("retention", features, options)

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_gate = jax.random.split(key)
        return kernels(k_heads, in_features) | {"gate": draw(k_gate, in_features, heads, values)}

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        q, k, v = (heads_of(xs, params[name]) for name in ("query", "key", "value"))
        log_decay = jnp.log1p(-(2.0 ** (-5 - jnp.arange(heads, dtype=q.dtype))))
        return {"q": q * keys**-0.5, "k": k, "v": v, "log_decay": jnp.broadcast_to(log_decay, q.shape[:-1])}

    return matrix_cell(
        inputs, init, heads, keys, values, readout=gated_output, chunk=options["chunk"], dtype=options["dtype"]
    )
