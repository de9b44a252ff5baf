"""Defines DeltaProduct, which applies the delta rule several times to each input.

Parameters: `query [D, heads, K]`, `key [D, heads * n, K]`, `value [D, heads * n, V]`, `rate [D, heads * n]`, in which
the n steps of a head are neighbours, `scale [heads, V]` and `out [heads, V, H]`.
"""

from typing import Literal, Unpack

import jax
from jax.nn import sigmoid, silu

from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.matrix import heads_from, heads_of, matrix_cell, normalized_output, unit
from jaxrnn.types import Array, Cell, Params


@checked
def delta_product(
    features: int,
    *,
    householders: int = 2,
    eigenvalues: Literal["positive", "signed"] = "signed",
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes a cell of n steps of the delta rule for each input, whose product can turn the state.

    `Sₜ,ᵢ = (I − βₜ,ᵢ kₜ,ᵢ kₜ,ᵢᵀ) Sₜ,ᵢ₋₁ + βₜ,ᵢ kₜ,ᵢ vₜ,ᵢᵀ` for i from 1 to n, with `Sₜ,₀ = Sₜ₋₁,ₙ`, then
    `oₜ = Sₜ,ₙᵀ qₜ` and `yₜ = W_o norm(oₜ)` per head. `qₜ` and `kₜ,ᵢ` have length 1 in the direction of `silu(W xₜ)`,
    `vₜ,ᵢ = silu(W xₜ)` and `βₜ,ᵢ = 2 σ(W xₜ)`, each with its own weights (Siems et al. 2025, "DeltaProduct: improving
    state-tracking in linear RNNs via Householder products", whose short convolutions need a layer before it). `norm`
    divides by the root mean square. With n = 1 it is `delta_net`.

    It runs n steps where `delta_net` runs one, and stores the inputs of all of them: time and memory of the recurrence
    are n times as large.

    Args:
      features: H, the width of the output.
      householders: n, the steps for each input; two reflections make a rotation.
      eigenvalues: the range of a step's eigenvalues: `"signed"` is (−1, 1], `"positive"`, without the 2 in `βₜ,ᵢ`,
        (0, 1].
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; unknown
        `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.delta_product(8, heads=2, householders=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape, params["key"].shape
      ((5, 2, 8), (2, 2, 4, 4), (3, 6, 4))
    """
    heads, keys, values, kernels, draw = heads_from("delta_product", features, options)
    several = heads * householders

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_key, k_value, k_rate = jax.random.split(key, 4)
        return {
            **kernels(k_heads, in_features),
            "key": draw(k_key, in_features, several, keys),
            "value": draw(k_value, in_features, several, values),
            "rate": draw(k_rate, in_features, 1, several)[:, 0],
        }

    def inputs(params: Params, xs: Array) -> tuple[dict[str, Array], ...]:
        q, k, v = (silu(heads_of(xs, params[name])) for name in ("query", "key", "value"))
        beta = sigmoid(product(xs, params["rate"], xs.dtype)) * (2 if eigenvalues == "signed" else 1)
        made = {"k": unit(k), "v": v, "beta": beta[..., None]}
        apart = {name: a.reshape(*a.shape[:-2], heads, householders, a.shape[-1]) for name, a in made.items()}
        return tuple({"q": unit(q)} | {name: a[..., i, :] for name, a in apart.items()} for i in range(householders))

    return matrix_cell(
        inputs, init, heads, keys, values, readout=normalized_output, chunk=options["chunk"], dtype=options["dtype"]
    )
