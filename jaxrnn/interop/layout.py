"""Converts a cell's parameters between jaxrnn's layout and the flat one of other frameworks, and infers the cell."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.types import Array, Params

Activation = Callable[[Array], Array]

# The number of gates, and the parameters besides kernel, recurrent_kernel and bias, determine the cell.
KINDS = {
    (1, ()): "elman",
    (2, ("recurrent_bias",)): "mgu",
    (2, ()): "janet",
    (3, ("recurrent_bias",)): "gru",
    (3, ()): "gru before",
    (4, ()): "lstm",
    (4, ("projection",)): "projected lstm",
}  # "conv …" cells have kernels with a window
IGFO = (0, 2, 1, 3)  # the order of gates in Haiku's LSTMs and Flax's convolutional one
FORGET = np.array([[0], [1], [0], [0]])  # those add it to the gates `i f g o` in a step
CANDIDATE = 2  # the GRU's gate `n` of `r z n`, whose two biases are not added


def kind_of(where: str, params: Params, known: Sequence[str]) -> str:
    """Returns the cell of these parameters, one of those that a framework has.

    Without biases the GRU's two resets have the same parameters: then it is the one in `known`.
    """
    kernel = params["kernel"]
    extra = tuple(sorted(params.keys() - {"kernel", "recurrent_kernel", "bias"}))
    kind = KINDS.get((kernel.shape[-2], extra), "")
    if kernel.ndim > 3:
        kind = f"conv {kind}"
    if kind == "gru before" and "bias" not in params and kind not in known:
        kind = "gru"
    if kind not in known:
        raise ValueError(
            f"{where}: params have {kernel.shape[-2]} gates and the entries {sorted(params)}, expected those of one of "
            f"these cells: {', '.join(known)}"
        )
    return kind


def check_fixed(where: str, because: str, **activations: Activation) -> None:
    """Checks that activations are the usual ones, if the other framework's cell has no others."""
    usual = {"activation": (jnp.tanh, "jnp.tanh"), "gate_activation": (jax.nn.sigmoid, "jax.nn.sigmoid")}
    for name, activation in activations.items():
        function, spelled = usual[name]
        if activation is not function:
            raise ValueError(f"{where}: {name} is {activation!r}, expected {spelled}: {because}")


def split(array: Array, gates: int, order: Sequence[int] | None = None) -> Array:
    """Splits `[..., G·H]` into `[..., G, H]`, gates in jaxrnn's order; `order` has their places in the other."""
    apart = array.reshape(*array.shape[:-1], gates, -1)
    return apart if order is None else apart[..., np.array(order), :]


def join(array: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
    """Inverts `split`, if `order` swaps two gates, as every order here does."""
    ordered = array if order is None else array[..., np.array(order), :]
    return ordered.reshape(*ordered.shape[:-2], -1)


def merge_biases(from_x: Array, from_h: Array, *, gru: bool) -> Params:
    """Adds two biases `[G, H]`, except those of a GRU's candidate, which have the reset gate between them."""
    if not gru:
        return {"bias": from_x + from_h}
    candidate = (jnp.arange(len(from_x)) == CANDIDATE)[:, None]
    return {"bias": from_x + jnp.where(candidate, 0, from_h), "recurrent_bias": from_h[CANDIDATE]}


def two_biases(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Inverts `merge_biases`: the first bias has the sum, and the second is zero except for a GRU's candidate."""
    from_h = np.zeros_like(params["bias"])
    if "recurrent_bias" in params:
        from_h[CANDIDATE] = params["recurrent_bias"]
    return params["bias"], from_h


def bias_or_zeros(params: Params) -> np.ndarray:
    """Returns the bias, or zeros, for a framework whose cell always has one."""
    return params["bias"] if "bias" in params else np.zeros(params["kernel"].shape[-2:], params["kernel"].dtype)
