"""Defines the fast weight programmer: the delta rule over keys that a deterministic map makes longer and sparse.

Parameters: `query`, `key [D, heads, K]`, `value [D, heads, V]`, `rate [D, heads]` and `out [heads, V, H]`.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import relu, sigmoid

from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.matrix import heads_from, heads_of, matrix_cell, merged
from jaxrnn.types import Array, Cell, Params

EPSILON = 1e-6  # is added to the sum by which features are divided: it may be zero


@checked
def fast_weight_programmer(features: int, *, shifts: int = 1, **options: Unpack[MatrixOptions]) -> Cell:
    """Makes a fast weight programmer: a network that changes the weights of another one by the delta rule.

    `Sₜ = Sₜ₋₁ + βₜ φ(kₜ) (vₜ − Sₜ₋₁ᵀ φ(kₜ))ᵀ`, `yₜ = W_o Sₜᵀ φ(qₜ)` per head, with `qₜ, kₜ, vₜ = W xₜ`, each with its
    own weights, and `βₜ = σ(W_β xₜ)` (Schlag et al. 2021, "Linear transformers are secretly fast weight programmers").
    `φ` is their deterministic parameter-free projection of `r = relu([k; −k])`: the products `rᵢ rᵢ₋ⱼ` of all i for j
    from 1 to `shifts`, their ν, divided by their sum plus 1e-6; indices wrap around. `delta_net` is its successor.

    Args:
      features: H, the width of the output.
      shifts: ν, the products with each entry of `r`. The state has `2 K ν` rows.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`, and `keys` is K,
        the width of `kₜ`, by default `H / heads`, or 2 where that is 1.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`, whose matrices are the transposes of the paper's fast weights.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; `keys` and `shifts`
        are both 1, for which `φ` is zero.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.fast_weight_programmer(8, heads=2, shifts=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 24, 4))
    """
    if options["keys"] is None and features == options["heads"]:
        options = {**options, "keys": 2}  # with 1 and one shift φ is zero
    heads, keys, values, kernels, draw = heads_from("fast_weight_programmer", features, options)
    if keys == shifts == 1:
        raise ValueError("fast_weight_programmer: keys and shifts are both 1, expected 2 or more of either")

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_rate = jax.random.split(key)
        params = kernels(k_heads, in_features) | {"rate": draw(k_rate, in_features, 1, heads)[:, 0]}
        return {name: p for name, p in params.items() if name != "scale"}

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        q, k, v = (heads_of(xs, params[name]) for name in ("query", "key", "value"))
        beta = sigmoid(product(xs, params["rate"], xs.dtype))
        return {"q": _projected(q, shifts), "k": _projected(k, shifts), "v": v, "beta": beta}

    def readout(params: Params, ys: Array, xs: Array) -> Array:
        return merged(ys, params["out"], xs.dtype)

    rows = 2 * keys * shifts
    return matrix_cell(
        inputs, init, heads, rows, values, readout=readout, chunk=options["chunk"], dtype=options["dtype"]
    )


def _projected(x: Array, shifts: int) -> Array:
    """Returns `φ(x)`."""
    r = relu(jnp.concatenate([x, -x], axis=-1))
    products = jnp.concatenate([r * jnp.roll(r, j, axis=-1) for j in range(1, shifts + 1)], axis=-1)
    return products / (products.sum(-1, keepdims=True) + EPSILON)
