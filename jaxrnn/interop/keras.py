"""Converts weights of Keras's `LSTM`, `GRU`, `SimpleRNN` and `ConvLSTM…D`, each alone or in `Bidirectional`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.cells.conv import conv_lstm
from jaxrnn.cells.elman import elman
from jaxrnn.cells.gru import gru
from jaxrnn.cells.lstm import lstm
from jaxrnn.interop import layout, names
from jaxrnn.interop.network import Built, Direction, build, level_of, verified
from jaxrnn.layers.bidirectional import Merge
from jaxrnn.options import checked
from jaxrnn.recurrence.images import Padding, window_of
from jaxrnn.types import Cell, Layer, Params

Kind = Literal["LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"]
SPATIAL: dict[Kind, int] = {"ConvLSTM1D": 1, "ConvLSTM2D": 2, "ConvLSTM3D": 3}  # other kinds have no spatial axes
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1, "ConvLSTM1D": 4, "ConvLSTM2D": 4, "ConvLSTM3D": 4}
KINDS: dict[str, Kind] = {"lstm": "LSTM", "gru": "GRU", "gru before": "GRU", "elman": "SimpleRNN"}
ORDERS = {"GRU": (1, 0, 2)}  # `z r h`; other kinds have the order of jaxrnn
NAMES = ("kernel", "recurrent_kernel", "bias")
CELLS = {  # names of a layer and of its cell
    "LSTM": ("lstm", "lstm_cell"),
    "GRU": ("gru", "gru_cell"),
    "SimpleRNN": ("simple_rnn", "simple_rnn_cell"),
    "ConvLSTM1D": ("conv_lstm1d", "conv_lstm_cell"),
    "ConvLSTM2D": ("conv_lstm2d", "conv_lstm_cell"),
    "ConvLSTM3D": ("conv_lstm3d", "conv_lstm_cell"),
}
PLAIN: dict[str, Any] = {
    "padding": "valid",
    "strides": 1,
    "dilation": 1,
}  # Keras's defaults


@checked
def from_keras(
    weights: Any,
    *,
    kind: Kind = "LSTM",
    merge: Merge = "concat",
    activation: layout.Activation = jnp.tanh,
    gate_activation: layout.Activation = jax.nn.sigmoid,
    reset_after: bool | None = None,
    padding: Padding = "valid",
    strides: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Built:
    """Makes the layer of a Keras `LSTM`, `GRU`, `SimpleRNN` or `ConvLSTM…D`, or of two in `Bidirectional`.

    The shape of a GRU's bias shows its reset: `[2, 3·H]` after the product, `[3·H]` before. With the reset after the
    product, two biases that are added are one here. Weights show only sizes otherwise: give the layer's own options.

    Args:
      weights: of one layer, a mapping from names to floating arrays: `{v.path: v.numpy() for v in layer.weights}`, or
        `kernel`, `recurrent_kernel` and `bias` alone.
      kind: the layer's class in Keras.
      merge: the `merge_mode` of `Bidirectional`.
      activation: the layer's activation.
      gate_activation: the `recurrent_activation` of a layer with gates. Keras 3's `"hard_sigmoid"` is
        `jax.nn.hard_sigmoid`; Keras 2's was `lambda x: jnp.clip(0.2 * x + 0.5, 0, 1)`.
      reset_after: of a `GRU`; required without a bias, and checked with one.
      padding: of a `ConvLSTM…D`. Keras's default is `"valid"`, that of `jaxrnn.conv_lstm` is `"same"`.
      strides: of a `ConvLSTM…D`.
      dilation: of a `ConvLSTM…D`, its `dilation_rate`.

    Returns:
      `(layer, params)`: `rnn` or `bidirectional` of an `lstm`, a `gru`, an `elman` or a `conv_lstm`. Like all layers it
      takes `xs [T, *batch, D]`, where Keras takes `[B, T, D]`; images have their channels last.

    Raises:
      ValueError: a name is missing or unknown, a shape or dtype does not fit, or an option is unknown.

    Example:
      >>> import numpy as np, jaxrnn
      >>> weights = {"kernel": np.ones((3, 24)), "recurrent_kernel": np.ones((8, 24)), "bias": np.ones((2, 24))}
      >>> layer, params = jaxrnn.interop.from_keras(weights, kind="GRU")
      >>> carry, ys = jaxrnn.unroll(layer, params, np.ones((5, 2, 3)))
      >>> params["bias"].shape, params["recurrent_bias"].shape, ys.shape
      ((3, 8), (8,), (5, 2, 8))
    """
    where = "from_keras"
    checks.check_choice(where, "kind", kind, tuple(GATES))
    found = names.groups(
        where, names.read(where, "weights", weights, "{v.path: v.numpy() for v in layer.weights}"), NAMES
    )
    options: dict[str, Any] = {"activation": activation, "gate_activation": gate_activation}
    if kind == "SimpleRNN":
        layout.check_fixed(where, "a SimpleRNN has no gates", gate_activation=options.pop("gate_activation"))
    convolution: dict[str, Any] = {"padding": padding, "strides": strides, "dilation": dilation}
    if kind in SPATIAL:
        options |= convolution
    elif window_of(where, (1,), **convolution) != window_of(where, (1,), **PLAIN):
        said = ", ".join(f"{name}={value!r}" for name, value in convolution.items())
        raise ValueError(f"{where}: {said} are given for kind={kind!r}, expected a ConvLSTM1D, 2D or 3D")
    cells = [_direction(there, own, kind, options, reset_after) for there, own in names.directions(where, found)]
    return build([cells], merge=merge)


@checked
def to_keras(
    layer: Layer,
    params: Params,
    *,
    merge: Merge = "concat",
    activation: layout.Activation = jnp.tanh,
    gate_activation: layout.Activation = jax.nn.sigmoid,
    padding: Padding = "valid",
    strides: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> dict[str, np.ndarray]:
    """Returns the weights of the Keras layer that computes the same as `layer`.

    They are in Keras's order: `keras_layer.set_weights(list(weights.values()))` takes them. `from_keras` returns the
    same parameters, to the last bit.

    Args:
      layer: a layer as from `from_keras`: `rnn` or `bidirectional` of an `lstm`, a `gru`, an `elman` or a `conv_lstm`.
      params: its parameters.
      merge: the `merge_mode` of the target `Bidirectional`.
      activation: the target layer's activation.
      gate_activation: the target layer's `recurrent_activation`.
      padding: of the target `ConvLSTM…D`.
      strides: of the target `ConvLSTM…D`.
      dilation: the `dilation_rate` of the target `ConvLSTM…D`.

    Returns:
      Arrays by Keras's names: `kernel`, `recurrent_kernel` and `bias`, in `Bidirectional` after a path such as
      `forward_lstm/lstm_cell/`. Where Keras adds two biases of a GRU, the first one has the sum.

    Raises:
      ValueError: Keras has no such layer, or `params` are not those of `layer`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.rnn(jaxrnn.gru(8, reset="before"))
      >>> weights = jaxrnn.interop.to_keras(layer, layer.init(jax.random.key(0), 3))
      >>> {name: weight.shape for name, weight in weights.items()}
      {'kernel': (3, 24), 'recurrent_kernel': (8, 24), 'bias': (24,)}
    """
    where = "to_keras"
    cells = level_of(where, params)
    kind = _kind(where, cells[0])
    outer, inner = CELLS[kind]
    paths = [f"{way}_{outer}/{inner}/" for way in ("forward", "backward")] if len(cells) == 2 else [""]

    def convert(params: Params) -> dict[str, np.ndarray]:
        parts = [_weights(where, own) for own in level_of(where, params)]
        return names.prefixed(paths, parts)

    def reader(reset_after: bool | None) -> Callable[[Any], Built]:
        options: dict[str, Any] = {"activation": activation, "gate_activation": gate_activation}
        options |= {"padding": padding, "strides": strides, "dilation": dilation}
        return partial(from_keras, kind=kind, merge=merge, reset_after=reset_after, **options)

    untold = kind == "GRU" and "bias" not in cells[0]
    readers = map(reader, (True, False) if untold else (None,))
    window = window_of(where, (1,) * SPATIAL.get(kind, 1), padding, strides, dilation)
    return verified(where, layer, params, convert, *readers, dilation=max(window.dilation))


def _direction(
    where: str,
    weights: names.Weights,
    kind: Kind,
    options: dict[str, Any],
    reset_after: bool | None,
) -> Direction:
    gates, order, axes = GATES[kind], ORDERS.get(kind), 2 + SPATIAL.get(kind, 0)
    biases = ["bias"] if "bias" in weights else []
    names.check_names(where, weights, ["kernel", "recurrent_kernel", *biases], "give the weights of one layer")
    names.check_axes(where, weights, "kernel", axes)
    names.check_axes(where, weights, "recurrent_kernel", axes)
    *window, inputs, _ = weights["kernel"].shape
    features, use_bias = weights["recurrent_kernel"].shape[-2], bool(biases)
    after = _resets_after(where, weights, reset_after) if kind == "GRU" else False
    columns = gates * features
    shapes: names.Shapes = {"kernel": (*window, inputs, columns), "recurrent_kernel": (*window, features, columns)}
    if use_bias:
        shapes["bias"] = (2, columns) if after else (columns,)
    names.check_shapes(where, weights, shapes, f"kind={kind!r} with {features} features")

    apart = {name: layout.split(weights[name], gates, order) for name in shapes}
    params = apart | (layout.merge_biases(*apart["bias"], gru=True) if after and use_bias else {})
    if kind == "GRU":
        reset: Literal["after", "before"] = "after" if after else "before"
        return gru(features, reset=reset, use_bias=use_bias, **options), params
    if kind in SPATIAL:
        return conv_lstm(features, tuple(window), use_bias=use_bias, **options), params
    cell: Callable[..., Cell] = lstm if kind == "LSTM" else elman
    return cell(features, use_bias=use_bias, **options), params


def _resets_after(where: str, weights: names.Weights, reset_after: bool | None) -> bool:
    if "bias" not in weights:
        if reset_after is None:
            raise ValueError(f"{where}: reset_after is None, expected True or False: without a bias nothing tells")
        return reset_after
    told = weights["bias"].ndim == 2
    if reset_after not in (None, told):
        shape = weights["bias"].shape
        raise ValueError(f"{where}: reset_after is {reset_after}, expected {told} from a bias of shape {shape}")
    return told


def _kind(where: str, params: Params) -> Kind:
    kinds = KINDS | {"conv lstm": next((k for k, n in SPATIAL.items() if n == params["kernel"].ndim - 3), "LSTM")}
    return kinds[layout.kind_of(where, params, tuple(kinds))]


def _weights(where: str, params: Params) -> dict[str, np.ndarray]:
    kind = _kind(where, params)
    own = {name: leaf for name, leaf in params.items() if name != "recurrent_bias"}
    if "recurrent_bias" in params:
        own["bias"] = np.stack(layout.two_biases(params))
    return {name: layout.join(own[name], ORDERS.get(kind)) for name in NAMES if name in own}
