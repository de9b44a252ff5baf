"""A cell's parameters in jaxrnn's layout and in the flat one of other frameworks, and which cell they belong to."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.types import Array, Params

Activation = Callable[[Array], Array]

# Gates and parameters besides kernel, recurrent_kernel and bias -> the cell.
KINDS = {
    (1, ()): "elman",
    (2, ("recurrent_bias",)): "mgu",
    (2, ()): "janet",
    (3, ("recurrent_bias",)): "gru",
    (3, ()): "gru before",
    (4, ()): "lstm",
    (4, ("projection",)): "projected lstm",
}  # and "conv …", whose kernels have a window
IGFO = (0, 2, 1, 3)  # the LSTM's gates as Haiku orders them, and Flax's convolutional one
FORGET = np.array([[0], [1], [0], [0]])  # what those add to the gates `i f g o` at run time
CANDIDATE = 2  # of the GRU's gates `r z n`: the one whose two products do not simply add


def kind_of(where: str, params: Params, known: Sequence[str]) -> str:
    """Which cell has these parameters, of those that a framework knows.

    Without biases nothing tells the GRU's two resets apart: then it is the one that is known.
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
    """That these activations are the usual ones, since the other framework's cell has no others."""
    usual = {"activation": (jnp.tanh, "jnp.tanh"), "gate_activation": (jax.nn.sigmoid, "jax.nn.sigmoid")}
    for name, activation in activations.items():
        function, spelled = usual[name]
        if activation is not function:
            raise ValueError(f"{where}: {name} is {activation!r}, expected {spelled}: {because}")


def split(array: Array, gates: int, order: Sequence[int] | None = None) -> Array:
    """`[..., G·H]` to `[..., G, H]`, gates in jaxrnn's `order`, given as their places in the other."""
    apart = array.reshape(*array.shape[:-1], gates, -1)
    return apart if order is None else apart[..., np.array(order), :]


def join(array: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
    """`[..., G, H]` to `[..., G·H]`: what `split` undoes, if `order` swaps two gates, as every order here does."""
    ordered = array if order is None else array[..., np.array(order), :]
    return ordered.reshape(*ordered.shape[:-2], -1)


def merge_biases(from_x: Array, from_h: Array, *, gru: bool) -> Params:
    """Two biases `[G, H]` that meet in a sum are one; those of a GRU's candidate do not meet."""
    if not gru:
        return {"bias": from_x + from_h}
    candidate = (jnp.arange(len(from_x)) == CANDIDATE)[:, None]
    return {"bias": from_x + jnp.where(candidate, 0, from_h), "recurrent_bias": from_h[CANDIDATE]}


def two_biases(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """What `merge_biases` makes these of: all in the first, and zeros in the second but for a GRU's candidate."""
    from_h = np.zeros_like(params["bias"])
    if "recurrent_bias" in params:
        from_h[CANDIDATE] = params["recurrent_bias"]
    return params["bias"], from_h


def bias_or_zeros(params: Params) -> np.ndarray:
    """The bias, for a framework whose cell always has one."""
    return params["bias"] if "bias" in params else np.zeros(params["kernel"].shape[-2:], params["kernel"].dtype)
