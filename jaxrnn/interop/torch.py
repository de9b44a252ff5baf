"""Converts weights of `torch.nn.LSTM`, `GRU` and `RNN`, and of their cells."""

import re
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
from jaxrnn.cells.projected import projected_lstm
from jaxrnn.interop import layout, names
from jaxrnn.interop.network import Built, Direction, build, levels_of, verified
from jaxrnn.options import checked
from jaxrnn.types import Array, Cell, Layer, Params

Nonlinearity = Literal["tanh", "relu"]
ACTIVATIONS: dict[Nonlinearity, Callable[[Array], Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu}
GATED: dict[int, Callable[..., Cell]] = {3: gru, 4: lstm}
GATES = (1, 3, 4)  # an RNN, a GRU and an LSTM have as many; PyTorch orders them as jaxrnn does
KERNELS = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh"}
WAYS = ("", "_reverse")
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


@checked
def from_torch(state_dict: Any, *, prefix: str = "", nonlinearity: Nonlinearity = "tanh") -> Built:
    """Makes the layer of a `torch.nn.LSTM`, `GRU` or `RNN`, or of one of their cells, and its parameters.

    Names determine layers, directions, projection and biases; shapes determine the kind of cell. Where PyTorch adds two
    biases, `bias` is the sum. Weights do not show dropout between layers.

    Args:
      state_dict: the module's, a mapping from names to floating arrays, or to tensors on the CPU.
      prefix: the prefix of the module's names, such as `"encoder.lstm."`; other names are skipped.
      nonlinearity: of an `RNN`, the only option that its weights do not show.

    Returns:
      `(layer, params)`: `rnn` of an `lstm`, `projected_lstm`, `gru` or `elman`, `bidirectional` if there are two
      directions, in a `stack` if there are several layers. Like all layers it takes `xs [T, *batch, D]`.

    Raises:
      ValueError: a name is missing or unknown, a shape or dtype does not fit, or an option is unknown.

    Example:
      >>> import numpy as np, jaxrnn
      >>> shapes = {"weight_ih_l0": (32, 3), "weight_hh_l0": (32, 8), "bias_ih_l0": (32,), "bias_hh_l0": (32,)}
      >>> layer, params = jaxrnn.interop.from_torch({name: np.ones(shape) for name, shape in shapes.items()})
      >>> carry, ys = jaxrnn.unroll(layer, params, np.ones((5, 2, 3)))
      >>> params["kernel"].shape, ys.shape
      ((3, 4, 8), (5, 2, 8))
    """
    where = "from_torch"
    checks.check_choice(where, "nonlinearity", nonlinearity, tuple(ACTIVATIONS))
    weights = names.read(where, "state_dict", state_dict, "module.state_dict()", prefix=prefix)
    suffixes, parts = _names(where, weights)
    gates, features, state = _sizes(where, weights, suffixes[0][0])
    if gates != 1 and nonlinearity != "tanh":
        raise ValueError(f"{where}: nonlinearity is {nonlinearity!r}, expected 'tanh' for a module of {gates} gates")

    width = weights["weight_ih" + suffixes[0][0]].shape[-1]
    levels = []
    for level in suffixes:
        shapes: names.Shapes = {"weight_ih": (gates * features, width), "weight_hh": (gates * features, state)}
        shapes |= {"bias_ih": (gates * features,), "bias_hh": (gates * features,), "weight_hr": (state, features)}
        for suffix in level:
            because = f"{gates} gates of {features} features and {width} inputs"
            names.check_shapes(where, weights, {part + suffix: shapes[part] for part in parts}, because)
        each = [{part: weights[part + suffix] for part in parts} for suffix in level]
        levels.append([_direction(gates, own, nonlinearity) for own in each])
        width = state * len(level)
    return build(levels)


@checked
def to_torch(layer: Layer, params: Params, *, prefix: str = "") -> dict[str, np.ndarray]:
    """Returns the state dict of the `torch.nn.LSTM`, `GRU` or `RNN` that computes the same as `layer`.

    `from_torch` returns the same parameters, to the last bit. `torch.as_tensor` makes a tensor of each array.

    Args:
      layer: a layer as from `from_torch`: an `rnn` or `bidirectional` of an `lstm`, `projected_lstm`,
        `gru(reset="after")` or `elman` with `tanh` or `relu`, or a `stack` of equal ones, with or without `dropout`
        between them.
      params: its parameters.
      prefix: the prefix of the names, such as `"encoder.lstm."`.

    Returns:
      Arrays by PyTorch's names. Where PyTorch adds two biases, the first is the sum and the second zero.

    Raises:
      ValueError: PyTorch has no such module, or `params` are not those of `layer`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.rnn(jaxrnn.gru(8))
      >>> weights = jaxrnn.interop.to_torch(layer, layer.init(jax.random.key(0), 3))
      >>> {name: weight.shape for name, weight in weights.items()}
      {'weight_ih_l0': (24, 3), 'weight_hh_l0': (24, 8), 'bias_ih_l0': (24,), 'bias_hh_l0': (24,)}
    """
    where = "to_torch"

    def convert(params: Params) -> dict[str, np.ndarray]:
        levels = enumerate(levels_of(where, params))
        cells = {f"_l{i}{way}": cell for i, level in levels for way, cell in zip(WAYS, level, strict=False)}
        return {
            prefix + part + suffix: leaf for suffix, cell in cells.items() for part, leaf in _parts(where, cell).items()
        }

    one_gate = levels_of(where, params)[0][0]["kernel"].shape[-2] == 1
    options = list(ACTIVATIONS)[: 2 if one_gate else 1]
    readers = [partial(from_torch, prefix=prefix, nonlinearity=option) for option in options]
    return verified(where, layer, params, convert, *readers)


def _names(where: str, weights: names.Weights) -> tuple[list[list[str]], list[str]]:
    """Returns the endings of names, level by level, and the parts before them, after checking that all are there."""
    if "weight_hh" in weights:  # these are a cell's
        suffixes = [[""]]
    else:
        numbers = [int(found[1]) for name in weights if (found := re.search(r"_l(\d+)(_reverse)?$", name))]
        ways = WAYS if any(name.endswith("_reverse") for name in weights) else WAYS[:1]
        suffixes = [[f"_l{i}{way}" for way in ways] for i in range(max(numbers, default=0) + 1)]
    has = {start: any(name.startswith(start) for name in weights) for start in ("bias", "weight_hr")}
    parts = [*PARTS[:2], *(PARTS[2:4] if has["bias"] else []), *(PARTS[4:] if has["weight_hr"] else [])]
    expected = [part + suffix for level in suffixes for suffix in level for part in parts]
    names.check_names(where, weights, expected, "prefix= picks one module's out of a larger state dict")
    return suffixes, parts


def _sizes(where: str, weights: names.Weights, suffix: str) -> tuple[int, int, int]:
    """Returns the number of gates, of features, and the width of the state, which a projection makes smaller."""
    told = [part + suffix for part in ("weight_ih", "weight_hh", "weight_hr") if part + suffix in weights]
    for name in told:
        names.check_axes(where, weights, name, 2)
    rows, state = weights["weight_hh" + suffix].shape
    features = weights[told[-1]].shape[1]
    gates = next((gates for gates in GATES if gates * features == rows), None)
    if gates is None or (len(told) == 3 and gates != 4):
        raise checks.ShapeError(
            f"{where}: 'weight_hh{suffix}' has shape {(rows, state)}, expected {features} rows, or 3 or 4 times as "
            "many: an RNN, a GRU or an LSTM; only an LSTM has a projection"
        )
    return gates, features, state


def _direction(gates: int, weights: names.Weights, nonlinearity: Nonlinearity) -> Direction:
    params = {name: layout.split(weights[part].T, gates) for name, part in KERNELS.items()}
    if "bias_ih" in weights:
        biases = (weights[part].reshape(gates, -1) for part in ("bias_ih", "bias_hh"))
        params |= layout.merge_biases(*biases, gru=gates == 3)
    features, use_bias = params["kernel"].shape[-1], "bias_ih" in weights
    if "weight_hr" in weights:
        projection = weights["weight_hr"].T
        cell = projected_lstm(features, projection.shape[1], use_bias=use_bias)
        return cell, params | {"projection": projection}
    if gates == 1:
        return elman(features, activation=ACTIVATIONS[nonlinearity], use_bias=use_bias), params
    return GATED[gates](features, use_bias=use_bias), params


def _parts(where: str, params: Params) -> dict[str, np.ndarray]:
    layout.kind_of(where, params, ("elman", "gru", "lstm", "projected lstm"))
    parts = {part: layout.join(params[name]).T for name, part in KERNELS.items()}
    if "bias" in params:
        parts |= {part: bias.reshape(-1) for part, bias in zip(PARTS[2:], layout.two_biases(params), strict=False)}
    if "projection" in params:
        parts["weight_hr"] = params["projection"].T
    return parts
