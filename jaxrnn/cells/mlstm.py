"""Defines the LSTM whose cell state is a matrix.

Parameters: `query`, `key [D, heads, K]`, `value`, `gate [D, heads, V]`, `gate_bias`, `scale [heads, V]`,
`out [heads, V, H]`; for the input and the forget gate, in this order, `rate [D, 2, heads]` and `rate_bias [2, heads]`.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.exponential import exponential_cell, gate_params, log_gates
from jaxrnn.recurrence.matrix import heads_from, heads_of, merged, normalized
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params


@checked
def mlstm(
    features: int,
    *,
    epsilon: float = 0.0,
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes an LSTM whose cell state is a matrix per head, and whose gates do not see the state.

    `Cₜ = fₜ Cₜ₋₁ + iₜ kₜ vₜᵀ`, `nₜ = fₜ nₜ₋₁ + iₜ kₜ`, `hₜ = Cₜᵀ qₜ / max(|nₜᵀ qₜ|, 1)` and
    `yₜ = W_o (σ(W_g xₜ + b_g) ⊙ norm(hₜ))` per head, with `iₜ = exp(W_i xₜ + b_i)`, `fₜ = σ(W_f xₜ + b_f)`, and
    `qₜ, √K kₜ, vₜ = W xₜ`, each with its own weights (Beck et al. 2024, "xLSTM: extended long short-term memory"). The
    carry has `C` and `n` divided by `exp(mₜ)`, `mₜ = max(log fₜ + mₜ₋₁, log iₜ)`, which changes no output. `norm`
    divides by the root mean square. At first the gates ignore the input, `b_f` goes from 3 to 6 over the heads and
    `b_i ~ N(0, 0.1²)`.

    Args:
      features: H, the width of the output.
      epsilon: the number added to the denominator of `hₜ` on the scale of the carry: `exp(mₜ) epsilon` on that of the
        equation. The authors' code has 1e-6. 0 is the published equation, whose denominator is at least 1.
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MLSTMCarry(C, n, m)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; `epsilon` is
        negative.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mlstm(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.C.shape, carry.m.shape
      ((5, 2, 8), (2, 2, 4, 4), (2, 2))
    """
    heads, keys, values, kernels, draw = heads_from("mlstm", features, options)
    if epsilon < 0:
        raise ValueError(f"mlstm: epsilon is {epsilon}, expected a number of 0 or more")

    param_dtype = options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_gate, k_rate = jax.random.split(key, 3)
        return {
            **kernels(k_heads, in_features),
            **gate_params(k_rate, in_features, heads, param_dtype),
            "gate": draw(k_gate, in_features, heads, values),
            "gate_bias": jnp.zeros((heads, values), param_dtype),
        }

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        q, k, v = (heads_of(xs, params[name]) for name in ("query", "key", "value"))
        return {"q": q, "k": k * keys**-0.5, "v": v, **log_gates(params, xs)}

    def readout(params: Params, hs: Array, xs: Array) -> Array:
        gate = sigmoid(heads_of(xs, params["gate"]) + align(params["gate_bias"], hs))
        hs = gate * normalized(hs, params["scale"])
        return merged(hs, params["out"], xs.dtype)

    return exponential_cell(
        inputs,
        init,
        heads,
        keys,
        values,
        readout=readout,
        chunk=options["chunk"],
        epsilon=epsilon,
        dtype=options["dtype"],
    )
