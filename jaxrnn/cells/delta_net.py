"""Defines the delta rule, and the gated ones.

Parameters: `query`, `key [D, heads, K]`, `value [D, heads, V]`, `scale [heads, V]`, `out [heads, V, H]` and `rate [D,
heads]`; the one with a decay per head has `gate [D, heads, V]`, `step_kernel [D, heads]`, `step_bias` and `log_rate
[heads]`, too, and the one with a decay per channel `gate_down [D, 1, V]`, `gate_up [V, heads, V]`, `step_down [D, 1,
K]`, `step_up [K, heads, K]`, `step_bias [heads, K]` and `log_rate [heads]`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, silu, softplus

from jaxrnn import initializers
from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.matrix import (
    gated_output,
    heads_from,
    low_rank,
    matrix_cell,
    merged,
    normalized,
    normalized_output,
    unit,
)
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

MIXED = ("query", "key", "value")


@checked
def delta_net(
    features: int,
    *,
    eigenvalues: Literal["positive", "signed"] = "positive",
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes a cell of the delta rule: each step replaces the value of its key.

    `Sₜ = (I − βₜ kₜ kₜᵀ) Sₜ₋₁ + βₜ kₜ vₜᵀ`, `oₜ = Sₜᵀ qₜ`, `yₜ = W_o norm(oₜ)` per head, with `qₜ` and `kₜ` of length 1
    in the direction of `silu(W xₜ)`, `vₜ = silu(W_v xₜ)` and `βₜ = σ(W_β xₜ)` (Yang et al. 2024, "Parallelizing
    linear transformers with the delta rule over sequence length"; `matrix_block` adds their short convolutions, and
    `fast_weight_programmer` is the form that came before). `norm` divides by the root mean square.
    `eigenvalues="signed"` doubles `βₜ`, so that a step can reflect (Grazzi et al. 2025, "Unlocking state-tracking in
    linear RNNs through negative eigenvalues").

    Args:
      features: H, the width of the output.
      eigenvalues: the range of a step's eigenvalues: `"positive"` is (0, 1], `"signed"` (−1, 1].
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; unknown
        `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.delta_net(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """
    heads, keys, values, kernels, draw = heads_from("delta_net", features, options)

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_rate = jax.random.split(key)
        return kernels(k_heads, in_features) | {"rate": draw(k_rate, in_features, 1, heads)[:, 0]}

    def inputs(params: Params, xs: Array, *products: Array) -> dict[str, Array]:
        return _delta_inputs(params, xs, products, eigenvalues)

    how = {"readout": normalized_output, "chunk": options["chunk"], "dtype": options["dtype"]}
    return matrix_cell(inputs, init, heads, keys, values, mixed=MIXED, **how)


@checked
def gated_delta_net(
    features: int,
    *,
    eigenvalues: Literal["positive", "signed"] = "positive",
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes a cell of the delta rule with a decay per head.

    `Sₜ = αₜ (I − βₜ kₜ kₜᵀ) Sₜ₋₁ + βₜ kₜ vₜᵀ`, `oₜ = Sₜᵀ qₜ`, `yₜ = W_o (silu(W_g xₜ) ⊙ norm(oₜ))` per head, with `qₜ`,
    `kₜ`, `vₜ` and `βₜ` as in `delta_net` and `log αₜ = −exp(A) softplus(W_α xₜ + b)` (Yang, Kautz & Hatamizadeh 2025,
    "Gated delta networks: improving Mamba2 with delta rule"; `matrix_block` adds their short convolutions). At first
    `exp(A)` is uniform between 1 and 16 and `softplus(b)` log-uniform between 0.001 and 0.1.

    Args:
      features: H, the width of the output.
      eigenvalues: the range of a step's eigenvalues: `"positive"` is (0, 1], `"signed"` (−1, 1].
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; unknown
        `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gated_delta_net(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """
    heads, keys, values, kernels, draw = heads_from("gated_delta_net", features, options)
    step_params = partial(initializers.step_params, param_dtype=options["param_dtype"])

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_gate, k_rates, k_decay = jax.random.split(key, 4)
        rates = draw(k_rates, in_features, 2, heads)
        return {
            **kernels(k_heads, in_features),
            **step_params(k_decay, heads),
            "gate": draw(k_gate, in_features, heads, values),
            "rate": rates[:, 0],
            "step_kernel": rates[:, 1],
        }

    def inputs(params: Params, xs: Array, *products: Array) -> dict[str, Array]:
        steps = product(xs, params["step_kernel"], xs.dtype)
        dt = softplus(steps + align(params["step_bias"], steps))
        log_decay = align(-jnp.exp(params["log_rate"]), dt) * dt
        return _delta_inputs(params, xs, products, eigenvalues) | {"log_decay": log_decay}

    how = {"readout": gated_output, "chunk": options["chunk"], "dtype": options["dtype"]}
    return matrix_cell(inputs, init, heads, keys, values, mixed=MIXED, **how)


@checked
def kda(
    features: int,
    *,
    eigenvalues: Literal["positive", "signed"] = "positive",
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes a cell of Kimi delta attention: the delta rule with a decay per key channel.

    `Sₜ = (I − βₜ kₜ kₜᵀ)(αₜ ⊙ Sₜ₋₁) + βₜ kₜ vₜᵀ`, `oₜ = Sₜᵀ qₜ`, `yₜ = W_o (σ(W_g↑ W_g↓ xₜ) ⊙ norm(oₜ))` per head, with
    `qₜ`, `kₜ`, `vₜ` and `βₜ` as in `delta_net` and `log αₜ = −exp(A) softplus(W_α↑ W_α↓ xₜ + b)`, whose rank is K, and
    V that of the gate (Kimi Team 2025, "Kimi Linear: an expressive, efficient attention architecture"; `matrix_block`
    adds their short convolutions). At first `exp(A)`, one number per head, is uniform between 1 and 16 and
    `softplus(b)` log-uniform between 0.001 and 0.1.

    Args:
      features: H, the width of the output.
      eigenvalues: the range of a step's eigenvalues without the decay: `"positive"` is (0, 1], `"signed"` (−1, 1].
      **options: see `MatrixOptions`; `kernel_init` draws each kernel as a matrix `(inputs, outputs)`.

    Returns:
      A `Cell` with carry `MatrixCarry(S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to; unknown
        `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.kda(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """
    heads, keys, values, kernels, draw = heads_from("kda", features, options)
    step_params = partial(initializers.step_params, param_dtype=options["param_dtype"])

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_rate, k_gate, k_step, k_decay, k_bias = jax.random.split(key, 6)
        (k_gate_down, k_gate_up), (k_step_down, k_step_up) = jax.random.split(k_gate), jax.random.split(k_step)
        biases = step_params(k_bias, heads * keys)["step_bias"]
        return {
            **kernels(k_heads, in_features),
            "log_rate": step_params(k_decay, heads)["log_rate"],
            "rate": draw(k_rate, in_features, 1, heads)[:, 0],
            "gate_down": draw(k_gate_down, in_features, 1, values),
            "gate_up": draw(k_gate_up, values, heads, values),
            "step_down": draw(k_step_down, in_features, 1, keys),
            "step_up": draw(k_step_up, keys, heads, keys),
            "step_bias": biases.reshape(heads, keys),
        }

    def inputs(params: Params, xs: Array, *products: Array) -> dict[str, Array]:
        steps = low_rank(xs, params["step_down"], params["step_up"])
        dt = softplus(steps + align(params["step_bias"], steps))
        log_decay = align(-jnp.exp(params["log_rate"])[:, None], dt) * dt
        return _delta_inputs(params, xs, products, eigenvalues) | {"log_decay": log_decay}

    def readout(params: Params, ys: Array, xs: Array, *products: Array) -> Array:
        del products
        ys = sigmoid(low_rank(xs, params["gate_down"], params["gate_up"])) * normalized(ys, params["scale"])
        return merged(ys, params["out"], xs.dtype)

    how = {"readout": readout, "chunk": options["chunk"], "dtype": options["dtype"]}
    return matrix_cell(inputs, init, heads, keys, values, mixed=MIXED, **how)


def _delta_inputs(params: Params, xs: Array, products: Sequence[Array], eigenvalues: str) -> dict[str, Array]:
    q, k, v = map(silu, products)
    beta = sigmoid(product(xs, params["rate"], xs.dtype))
    return {"q": unit(q), "k": unit(k), "v": v, "beta": beta if eigenvalues == "positive" else 2 * beta}
