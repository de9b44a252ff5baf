"""Defines the second hierarchically gated recurrent network.

Parameters: `query`, `gate [D, heads, K]`, `value [D, heads, V]`, `scale [heads, V]` and `out [heads, V, H]`.
"""

from typing import Unpack

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid, silu

from jaxrnn import checks
from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.matrix import heads_from, heads_of, jointly_normalized_output, matrix_cell
from jaxrnn.types import Array, Cell, Params


@checked
def hgrn2(features: int, *, lower_bound: float = 0.0, **options: Unpack[MatrixOptions]) -> Cell:
    """Makes a cell of gated linear attention whose keys are what its forget gates let go.

    `Sₜ = fₜ ⊙ Sₜ₋₁ + (1 − fₜ) iₜᵀ` and `Sₜᵀ oₜ` per head, `yₜ = W_y norm(Sᵀ o)` of all heads, with the gates
    `fₜ = ℓ + (1 − ℓ) σ(W_f xₜ)` and `oₜ = σ(W_o xₜ)`, and `iₜ = silu(W_i xₜ)` (Qin et al. 2024, "HGRN2: gated linear
    RNNs with state expansion", without biases). `norm` divides by the root mean square. The authors let `ℓ` rise from
    layer to layer, so that upper layers remember longer.

    Args:
      features: H, the width of the output.
      lower_bound: `ℓ`, what each step keeps of the state at least; from 0 to below 1.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; not
        `0 ≤ lower_bound < 1`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.hgrn2(8, heads=2, lower_bound=0.5)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """
    heads, keys, values, kernels, _ = heads_from("hgrn2", features, options)
    checks.check_rate("hgrn2", "lower_bound", lower_bound)

    def init(key: Array, in_features: int) -> Params:
        params = kernels(key, in_features)
        params["gate"] = params.pop("key")
        return params

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        o, f, i = (heads_of(xs, params[name]) for name in ("query", "gate", "value"))
        k = (1 - lower_bound) * sigmoid(-f)  # this is 1 − f without cancellation
        log_decay = jnp.log1p(-k) if lower_bound else log_sigmoid(f)
        return {"q": sigmoid(o), "k": k, "v": silu(i), "log_decay": log_decay}

    return matrix_cell(
        inputs,
        init,
        heads,
        keys,
        values,
        readout=jointly_normalized_output,
        chunk=options["chunk"],
        dtype=options["dtype"],
    )
