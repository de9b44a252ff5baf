"""Weights from and to Keras: `LSTM`, `GRU` with both resets and `SimpleRNN`, each alone or in `Bidirectional`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.cells.elman import elman
from jaxrnn.cells.gru import gru
from jaxrnn.cells.lstm import lstm
from jaxrnn.interop import layout, names
from jaxrnn.interop.network import Built, Direction, build, level_of, verified
from jaxrnn.layers.bidirectional import Merge
from jaxrnn.types import Cell, Layer, Params

Kind = Literal["LSTM", "GRU", "SimpleRNN"]
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
KINDS: dict[str, Kind] = {"lstm": "LSTM", "gru": "GRU", "gru before": "GRU", "elman": "SimpleRNN"}
ORDERS = {"LSTM": None, "GRU": (1, 0, 2), "SimpleRNN": None}  # `z r h`; the others as in jaxrnn
NAMES = ("kernel", "recurrent_kernel", "bias")
CELLS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}


def from_keras(
    weights: Any,
    *,
    kind: Kind = "LSTM",
    merge: Merge = "concat",
    activation: layout.Activation = jnp.tanh,
    gate_activation: layout.Activation = jax.nn.sigmoid,
    reset_after: bool | None = None,
) -> Built:
    """The layer of a Keras `LSTM`, `GRU` or `SimpleRNN`, alone or in `Bidirectional`, with its weights.

    Where a GRU resets is read off its bias: `[2, 3·H]` after the product, `[3·H]` before. After the product, two biases
    that meet in a sum are one here.

    Args:
      weights: of one layer, a mapping from names to floating arrays: `{v.path: v.numpy() for v in layer.weights}`, or
        `kernel`, `recurrent_kernel` and `bias` alone.
      kind: of the layer, by Keras's name.
      merge: of `Bidirectional`, its `merge_mode`: weights do not tell it.
      activation: of the layer: weights do not tell it either.
      gate_activation: of an `LSTM` or a `GRU`, its `recurrent_activation`: weights do not tell it either. Keras 3's
        `"hard_sigmoid"` is `jax.nn.hard_sigmoid`; Keras 2's was `lambda x: jnp.clip(0.2 * x + 0.5, 0, 1)`.
      reset_after: of a `GRU`; needed for one without a bias, and checked for one with.

    Returns:
      `(layer, params)`: `rnn` or `bidirectional` of an `lstm`, a `gru` or an `elman`. Like all layers it takes
      `xs [T, *batch, D]`, where Keras takes `[B, T, D]`.

    Raises:
      ValueError: a name is missing or unknown, a shape or dtype does not fit, or an option is unknown.

    Example:
      >>> import numpy as np, jaxrnn
      >>> weights = {"kernel": np.ones((3, 24)), "recurrent_kernel": np.ones((8, 24)), "bias": np.ones((2, 24))}
      >>> layer, params = jaxrnn.interop.from_keras(weights, kind="GRU")
      >>> carry, ys = layer.apply(params, None, np.ones((5, 2, 3)))
      >>> params["bias"].shape, params["recurrent_bias"].shape, ys.shape
      ((3, 8), (8,), (5, 2, 8))
    """
    where = "from_keras"
    checks.check_choice(where, "kind", kind, tuple(GATES))
    found = names.groups(
        where, names.read(where, "weights", weights, "{v.path: v.numpy() for v in layer.weights}"), NAMES
    )
    activations = {"activation": activation, "gate_activation": gate_activation}
    if kind == "SimpleRNN":
        layout.check_fixed(where, "a SimpleRNN has no gates", gate_activation=activations.pop("gate_activation"))
    cells = [_direction(there, own, kind, activations, reset_after) for there, own in names.directions(where, found)]
    return build([cells], merge=merge)


def to_keras(
    layer: Layer,
    params: Params,
    *,
    merge: Merge = "concat",
    activation: layout.Activation = jnp.tanh,
    gate_activation: layout.Activation = jax.nn.sigmoid,
) -> dict[str, np.ndarray]:
    """The weights of the Keras layer that computes what `layer` does.

    They stand in Keras's order: `keras_layer.set_weights(list(weights.values()))` takes them. `from_keras` gives back
    the same parameters, to the last bit.

    Args:
      layer: what `from_keras` makes: `rnn` or `bidirectional` of an `lstm`, a `gru` or an `elman`.
      params: its parameters.
      merge: of the `Bidirectional` that is to take the weights, its `merge_mode`.
      activation: of the layer that is to take them.
      gate_activation: of the layer that is to take them, its `recurrent_activation`.

    Returns:
      Arrays by Keras's names: `kernel`, `recurrent_kernel` and `bias`, in `Bidirectional` after a path such as
      `forward_lstm/lstm_cell/`. Where a GRU has two biases that meet in a sum, the first is all of it.

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
    kind = KINDS[layout.kind_of(where, cells[0], tuple(KINDS))]
    cell = CELLS[kind]
    paths = [f"{way}_{cell}/{cell}_cell/" for way in ("forward", "backward")] if len(cells) == 2 else [""]

    def convert(params: Params) -> dict[str, np.ndarray]:
        parts = [_weights(where, own) for own in level_of(where, params)]
        return names.prefixed(paths, parts)

    def reader(reset_after: bool | None) -> Callable[[Any], Built]:
        activations = {"activation": activation, "gate_activation": gate_activation}
        return partial(from_keras, kind=kind, merge=merge, reset_after=reset_after, **activations)

    untold = kind == "GRU" and "bias" not in cells[0]
    return verified(where, layer, params, convert, *map(reader, (True, False) if untold else (None,)))


def _direction(
    where: str,
    weights: names.Weights,
    kind: Kind,
    activations: dict[str, layout.Activation],
    reset_after: bool | None,
) -> Direction:
    gates, order = GATES[kind], ORDERS[kind]
    biases = ["bias"] if "bias" in weights else []
    names.check_names(where, weights, ["kernel", "recurrent_kernel", *biases], "give the weights of one layer")
    names.check_axes(where, weights, "kernel", 2)
    names.check_axes(where, weights, "recurrent_kernel", 2)
    features, use_bias = weights["recurrent_kernel"].shape[0], bool(biases)
    after = _resets_after(where, weights, reset_after) if kind == "GRU" else False
    columns = gates * features
    shapes: names.Shapes = {"kernel": (weights["kernel"].shape[0], columns), "recurrent_kernel": (features, columns)}
    if use_bias:
        shapes["bias"] = (2, columns) if after else (columns,)
    names.check_shapes(where, weights, shapes, f"kind={kind!r} with {features} features")

    apart = {name: layout.split(weights[name], gates, order) for name in shapes}
    params = apart | (layout.merge_biases(*apart["bias"], gru=True) if after and use_bias else {})
    if kind == "GRU":
        reset: Literal["after", "before"] = "after" if after else "before"
        return gru(features, reset=reset, use_bias=use_bias, **activations), params
    cell: Callable[..., Cell] = lstm if kind == "LSTM" else elman
    return cell(features, use_bias=use_bias, **activations), params


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


def _weights(where: str, params: Params) -> dict[str, np.ndarray]:
    kind = KINDS[layout.kind_of(where, params, tuple(KINDS))]
    own = {name: leaf for name, leaf in params.items() if name != "recurrent_bias"}
    if "recurrent_bias" in params:
        own["bias"] = np.stack(layout.two_biases(params))
    return {name: layout.join(own[name], ORDERS[kind]) for name in NAMES if name in own}
