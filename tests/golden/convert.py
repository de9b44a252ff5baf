"""Other frameworks' weights in jaxrnn's names, gate orders and layout.

Conversions are linear and differentiable, and reach all of jaxrnn's parameters but one, which `from_nnx` names. So
gradients pulled back through them, in the other framework's layout, agree exactly when those of jaxrnn's parameters do.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

GATES = {"lstm": "ifgo", "gru": "rzn", "gru_before": "rzn", "elman": "h"}


def from_torch(kind: str, weights: dict[str, Array]) -> dict[str, Array]:
    """From `weight_ih [G·H, D]`, `weight_hh [G·H, H]`, `bias_ih`, `bias_hh`; the gates stand in jaxrnn's order.

    Two biases that meet in a sum are one; those of the GRU's candidate do not meet.
    """
    gates = len(GATES[kind])
    kernel, recurrent_kernel = (
        weights[name].T.reshape(-1, gates, weights[name].shape[0] // gates) for name in ("weight_ih", "weight_hh")
    )
    from_x, from_h = (weights[name].reshape(gates, -1) for name in ("bias_ih", "bias_hh"))
    return {"kernel": kernel, "recurrent_kernel": recurrent_kernel, **_joined_biases(kind, from_x, from_h)}


def from_keras(kind: str, weights: dict[str, Array]) -> dict[str, Array]:
    """From `kernel [D, G·H]`, `recurrent_kernel [H, G·H]`, `bias [G·H]`; the GRU's gates stand as `z r h`.

    A GRU that resets after the product has `bias [2, 3·H]`, of the input and of the state.
    """
    gates = len(GATES[kind])
    order = jnp.array([1, 0, 2] if GATES[kind] == "rzn" else range(gates))
    kernel, recurrent_kernel, bias = (
        weights[name].reshape(*weights[name].shape[:-1], gates, -1)[..., order, :]
        for name in ("kernel", "recurrent_kernel", "bias")
    )
    biases = {"bias": bias} if bias.ndim == 2 else _joined_biases(kind, *bias)
    return {"kernel": kernel, "recurrent_kernel": recurrent_kernel, **biases}


def from_linen(kind: str, weights: dict[str, Any]) -> dict[str, Array]:
    """From one dense layer a gate, such as `ii` and `hi`, as in `flax.linen`.

    The `LSTMCell` of `flax.nnx` has them too, and calls one `if_` because `if` cannot be an attribute.
    """

    def stacked(source: str, leaf: str) -> Array:
        names = [source if kind == "elman" else source + gate for gate in GATES[kind]]
        layers = [weights.get(name, weights.get(f"{name}_")) for name in names]
        return jnp.stack([layer[leaf] for layer in layers], axis=-2)

    bias = stacked("h" if kind == "lstm" else "i", "bias")
    candidate = {"recurrent_bias": weights["hn"]["bias"]} if kind == "gru" else {}
    return {"kernel": stacked("i", "kernel"), "recurrent_kernel": stacked("h", "kernel"), "bias": bias, **candidate}


def from_nnx(kind: str, weights: dict[str, Any]) -> dict[str, Array]:
    """From one dense layer for all gates, `dense_i` and `dense_h`, as in `flax.nnx`.

    Its GRU has no bias of the candidate's product with the state: zero here.
    """
    gates = len(GATES[kind])
    kernel, recurrent_kernel = (
        weights[name]["kernel"].reshape(weights[name]["kernel"].shape[0], gates, -1) for name in ("dense_i", "dense_h")
    )
    bias = weights["dense_h" if kind == "lstm" else "dense_i"]["bias"].reshape(gates, -1)
    candidate = {"recurrent_bias": jnp.zeros_like(bias[0])} if kind == "gru" else {}
    return {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias, **candidate}


def _joined_biases(kind: str, from_x: Array, from_h: Array) -> dict[str, Array]:
    if kind != "gru":
        return {"bias": from_x + from_h}
    return {"bias": from_x + from_h.at[2].set(0), "recurrent_bias": from_h[2]}
