"""Converts weights of Haiku's `LSTM`, `GRU`, `VanillaRNN`, and `Conv…DLSTM`."""

from functools import partial
from typing import Any

import jax
import numpy as np

from jaxrnn import checks
from jaxrnn.cells.elman import elman
from jaxrnn.cells.gru import gru
from jaxrnn.cells.lstm import lstm
from jaxrnn.interop import convolution, layout, names
from jaxrnn.interop.network import Built, Direction, build, level_of, verified
from jaxrnn.options import checked
from jaxrnn.types import Layer, Params

GRU_ORDER = (1, 0, 2)  # `z r a`
SIGNS = np.array([[1], [-1], [1]])  # signs of `r z n`: Haiku's `z` is one minus jaxrnn's
GRU = {"w_i": "kernel", "w_h": "recurrent_kernel", "b": "bias"}
LEAVES = ("linear/w", "linear/b", "linear_1/w", "linear_1/b", "w_i", "w_h", "b")
CONVOLUTIONAL = ("input_to_hidden/w", "hidden_to_hidden/w", "input_to_hidden/b", "hidden_to_hidden/b")
REMEDY = "give the parameters of one core"
NAMES = {"lstm": "lstm", "gru before": "gru", "elman": "vanilla_rnn", "conv lstm": "conv{}_d_lstm"}


@checked
def from_haiku(params: Any) -> Built:
    """Makes the layer of a Haiku `LSTM`, `GRU`, `VanillaRNN` or `Conv…DLSTM`, and its parameters.

    The parameters absorb Haiku's differences: its LSTMs add 1 to the forget gate in a step, which the bias includes
    here; its GRU, which resets before the product, takes the candidate where `z` is 1, so that this gate's weights
    change their sign; the two biases of its `VanillaRNN`, whose activation is ReLU, are added.

    Args:
      params: of one core, by the names of its modules: `{"lstm/linear": {"w": …, "b": …}}`, with any path before them.

    Returns:
      `(layer, params)`: `rnn` of an `lstm`, a `gru(reset="before")`, an `elman` or a `conv_lstm`.

    Raises:
      ValueError: a name is missing or unknown, or a shape or dtype does not fit.

    Example:
      >>> import numpy as np, jaxrnn
      >>> weights = {"lstm/linear": {"w": np.zeros((3 + 8, 32)), "b": np.zeros(32)}}
      >>> layer, params = jaxrnn.interop.from_haiku(weights)
      >>> carry, ys = jaxrnn.unroll(layer, params, np.ones((5, 2, 3)))
      >>> params["bias"][:, 0].tolist(), ys.shape
      ([0.0, 1.0, 0.0, 0.0], (5, 2, 8))
    """
    where = "from_haiku"
    cores = names.groups(
        where, names.read(where, "params", params, "{'lstm/linear': {'w': …, 'b': …}}"), (*LEAVES, *CONVOLUTIONAL)
    )
    if len(cores) != 1:
        raise ValueError(f"{where}: params are those of {list(cores)}, expected one core's; give them one by one")
    ((path, weights),) = cores.items()
    told = {"w_i": _gru, "linear_1/w": _vanilla, CONVOLUTIONAL[0]: _convolutional}  # no other core has these names
    direction = next((read for name, read in told.items() if name in weights), _lstm)
    return build([[direction(f"{where}: {path}" if path else where, weights)]])


@checked
def to_haiku(layer: Layer, params: Params, *, name: str | None = None, double_bias: bool = True) -> dict[str, Any]:
    """Returns the parameters of the Haiku core that computes the same as `layer`.

    `from_haiku` returns the same parameters, to the last bit except for an LSTM's forget bias: 1 is subtracted here and
    added there, with a rounding each.

    Args:
      layer: a layer as from `from_haiku`: `rnn` of an `lstm`, a `gru(reset="before")`, an `elman` with ReLU, or a
        `conv_lstm`.
      params: its parameters.
      name: the name of the core's module; None: Haiku's, `"lstm"`, `"gru"`, `"vanilla_rnn"`, `"conv2_d_lstm"` …
      double_bias: of the target `VanillaRNN`; its second bias is zero.

    Returns:
      `{"lstm/linear": {"w": …, "b": …}}`, or similar; biases are zeros if a layer has none.

    Raises:
      ValueError: Haiku has no such core, or `params` are not those of `layer`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.rnn(jaxrnn.lstm(8))
      >>> weights = jaxrnn.interop.to_haiku(layer, layer.init(jax.random.key(0), 3))
      >>> {name: weight.shape for name, weight in weights["lstm/linear"].items()}
      {'w': (11, 32), 'b': (32,)}
    """
    where = "to_haiku"
    cells = level_of(where, params)
    if len(cells) == 2:
        raise ValueError(f"{where}: params have two directions, expected one: a core is one; give them one by one")
    kind = layout.kind_of(where, cells[0], tuple(NAMES))
    core = NAMES[kind].format(cells[0]["kernel"].ndim - 3) if name is None else name
    writers = {"lstm": _lstm_weights, "gru before": _gru_weights, "elman": _vanilla_weights}
    writers["conv lstm"] = partial(convolution.write, parts=CONVOLUTIONAL)

    def convert(params: Params) -> dict[str, Any]:
        (cell,) = level_of(where, params)
        parts = writers[kind](cell)
        if kind == "elman" and not double_bias:
            del parts["linear_1/b"]
        return names.modules({f"{core}/{path}": leaf for path, leaf in parts.items()})

    return verified(where, layer, params, convert, from_haiku)


def _lstm(where: str, weights: names.Weights) -> Direction:
    names.check_names(where, weights, ["linear/w", "linear/b"], REMEDY)
    names.check_axes(where, weights, "linear/w", 2)
    rows, columns = weights["linear/w"].shape
    features = columns // 4
    if columns % 4 or rows <= features:
        raise checks.ShapeError(
            f"{where}: 'linear/w' has shape {(rows, columns)}, expected (D + H, 4·H) from an LSTM of H features"
        )
    names.check_shapes(where, weights, {"linear/b": (columns,)}, f"an LSTM of {features} features")
    both = layout.split(weights["linear/w"], 4, layout.IGFO)
    bias = layout.split(weights["linear/b"], 4, layout.IGFO)
    kernels = {"kernel": both[: rows - features], "recurrent_kernel": both[rows - features :]}
    return lstm(features), kernels | {"bias": bias + layout.FORGET.astype(bias.dtype)}


def _lstm_weights(params: Params) -> names.Weights:
    both = np.concatenate([params["kernel"], params["recurrent_kernel"]])
    bias = layout.bias_or_zeros(params)
    bias = bias - layout.FORGET.astype(bias.dtype)
    return {"linear/w": layout.join(both, layout.IGFO), "linear/b": layout.join(bias, layout.IGFO)}


def _convolutional(where: str, weights: names.Weights) -> Direction:
    return convolution.read(where, weights, CONVOLUTIONAL)


def _gru(where: str, weights: names.Weights) -> Direction:
    names.check_names(where, weights, GRU, REMEDY)
    names.check_axes(where, weights, "w_i", 2)
    names.check_axes(where, weights, "w_h", 2)
    features = weights["w_h"].shape[0]
    shapes = {"w_i": (weights["w_i"].shape[0], 3 * features), "w_h": (features, 3 * features), "b": (3 * features,)}
    names.check_shapes(where, weights, shapes, f"a GRU of {features} features")
    split = {ours: layout.split(weights[theirs], 3, GRU_ORDER) for theirs, ours in GRU.items()}
    signed = {name: leaf * np.broadcast_to(SIGNS, leaf.shape).astype(leaf.dtype) for name, leaf in split.items()}
    return gru(features, reset="before"), signed


def _gru_weights(params: Params) -> names.Weights:
    params = params | {"bias": layout.bias_or_zeros(params)}
    signed = {theirs: params[ours] * SIGNS.astype(params[ours].dtype) for theirs, ours in GRU.items()}
    return {name: layout.join(leaf, GRU_ORDER) for name, leaf in signed.items()}


def _vanilla(where: str, weights: names.Weights) -> Direction:
    second = ["linear_1/b"] if "linear_1/b" in weights else []
    names.check_names(where, weights, ["linear/w", "linear/b", "linear_1/w", *second], REMEDY)
    names.check_axes(where, weights, "linear/w", 2)
    inputs, features = weights["linear/w"].shape
    shapes = {"linear/b": (features,), "linear_1/w": (features, features)} | {name: (features,) for name in second}
    names.check_shapes(where, weights, shapes, f"'linear/w' of shape {(inputs, features)}")
    kernel, recurrent_kernel, bias = (layout.split(weights[name], 1) for name in ("linear/w", "linear_1/w", "linear/b"))
    if second:
        bias = bias + layout.split(weights["linear_1/b"], 1)
    cell = elman(features, activation=jax.nn.relu)
    return cell, {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}


def _vanilla_weights(params: Params) -> names.Weights:
    bias = layout.join(layout.bias_or_zeros(params))
    w, w_h = (layout.join(params[name]) for name in ("kernel", "recurrent_kernel"))
    return {"linear/w": w, "linear/b": bias, "linear_1/w": w_h, "linear_1/b": np.zeros_like(bias)}
