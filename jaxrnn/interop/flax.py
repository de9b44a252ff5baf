"""Converts weights of Flax's recurrent cells, linen's and NNX's, each alone or in `Bidirectional`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.cells.coupled import janet
from jaxrnn.cells.elman import elman
from jaxrnn.cells.gru import gru
from jaxrnn.cells.lstm import lstm
from jaxrnn.cells.mgu import mgu
from jaxrnn.interop import convolution, layout, names
from jaxrnn.interop.network import Built, Direction, build, level_of, verified
from jaxrnn.layers.bidirectional import Merge
from jaxrnn.options import checked
from jaxrnn.types import Array, Cell, Layer, Params


class Form(NamedTuple):
    """The parameters of a Flax cell: modules of one gate each, in jaxrnn's order, or one module of all gates.

    Attributes:
      kind: the cell in jaxrnn.
      gates: the number of its gates.
      inputs: the modules whose kernels act on inputs.
      states: the modules whose kernels act on the state.
      biased: the modules that have a bias, one for each gate.
      candidate: a module with a further bias, on which the reset gate acts.
    """

    kind: str
    gates: int
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    biased: tuple[str, ...]
    candidate: tuple[str, ...] = ()

    def weights(self) -> list[str]:
        """Returns the paths of all parameters."""
        kernels = [f"{module}/kernel" for module in (*self.inputs, *self.states)]
        return [*kernels, *(f"{module}/bias" for module in (*self.biased, *self.candidate))]


def _form(kind: str, gates: int, inputs: str, states: str, biased: str, candidate: str = "") -> Form:
    return Form(kind, gates, *(tuple(modules.split()) for modules in (inputs, states, biased, candidate)))


FORMS = {
    "linen.LSTMCell": _form("lstm", 4, "ii if ig io", "hi hf hg ho", "hi hf hg ho"),
    "linen.OptimizedLSTMCell": _form("lstm", 4, "ii if ig io", "hi hf hg ho", "hi hf hg ho"),
    "linen.GRUCell": _form("gru", 3, "ir iz in", "hr hz hn", "ir iz in", "hn"),
    "linen.MGUCell": _form("mgu", 2, "if in", "hf hn", "if in", "hn"),
    "linen.MGUCell(reset_gate=False)": _form("janet", 2, "if in", "hf hn", "if in"),
    "linen.SimpleCell": _form("elman", 1, "i", "h", "i"),
    "linen.ConvLSTMCell": _form("conv lstm", 4, "ih", "hh", "ih hh"),
    "nnx.LSTMCell": _form("lstm", 4, "ii if_ ig io", "hi hf hg ho", "hi hf hg ho"),
    "nnx.OptimizedLSTMCell": _form("lstm", 4, "dense_i", "dense_h", "dense_h"),
    "nnx.GRUCell": _form("gru", 3, "dense_i", "dense_h", "dense_i"),
    "nnx.SimpleCell": _form("elman", 1, "dense_i", "dense_h", "dense_i"),
}
LEAVES = sorted({path for form in FORMS.values() for path in form.weights()})
CELLS: dict[str, Callable[..., Cell]] = {
    "lstm": lstm,
    "gru": gru,
    "mgu": partial(mgu, gate="keep"),
    "janet": partial(janet, beta=0.0),
    "elman": elman,
}


@checked
def from_flax(
    params: Any,
    *,
    merge: Merge = "concat",
    activation: layout.Activation = jnp.tanh,
    gate_activation: layout.Activation = jax.nn.sigmoid,
) -> Built:
    """Makes the layer of a Flax cell, linen's or NNX's, alone or in `Bidirectional`, and its parameters.

    Names and shapes determine the cell; linen's `OptimizedLSTMCell` has the names of `LSTMCell`. NNX's `GRUCell` has no
    bias `b_hn`: it is zero here. A `SimpleCell` with `residual=True` adds an identity to its recurrent kernel, which
    its weights do not show, and a `ConvLSTMCell` here has no strides and the padding `"SAME"`.

    `Bidirectional(RNN(cell), RNN(cell))` of one cell shares its weights and stores them once, under `forward_rnn` in
    linen or `backward_rnn` in NNX. Such a single group becomes both directions, each with its own copy: the outputs are
    Flax's, and training moves the copies apart. The tree below that name is one direction. For a shared cell with its
    own name give `{"forward": params, "backward": params}`.

    Args:
      params: of one cell, with any path before its own names: linen's `variables["params"]`, or
        `nnx.to_pure_dict(nnx.state(module, nnx.Param))`. Of two, with `forward` and `backward` in their paths.
      merge: the `merge_fn` of `Bidirectional`, which weights do not show.
      activation: the cell's `activation_fn`, which weights do not show.
      gate_activation: the cell's `gate_fn`, which weights do not show.

    Returns:
      `(layer, params)`: `rnn` or `bidirectional` of an `lstm`, a `gru`, an `mgu(gate="keep")`, a `janet(beta=0.0)`,
      which is Flax's `MGUCell` without a reset gate, an `elman` or a `conv_lstm`. Like all layers it takes
      `xs [T, *batch, D]`, where Flax takes `[*batch, T, D]`.

    Raises:
      ValueError: a name is missing or unknown, or a shape or dtype does not fit.

    Example:
      >>> import jax, jaxrnn
      >>> from flax import linen
      >>> x = jax.numpy.ones((2, 5, 3))
      >>> variables = linen.RNN(linen.GRUCell(8)).init(jax.random.key(0), x)
      >>> layer, params = jaxrnn.interop.from_flax(variables["params"])
      >>> jaxrnn.linen.RNN(layer).apply({"params": params}, x).shape
      (2, 5, 8)
    """
    where = "from_flax"
    found = names.groups(where, names.read(where, "params", params, "variables['params']"), LEAVES)
    directions = _directions(where, found)
    options = {"activation": activation, "gate_activation": gate_activation}
    return build([[_direction(there, own, options) for there, own in directions]], merge=merge)


@checked
def to_flax(
    layer: Layer,
    params: Params,
    *,
    cell: str | None = None,
    merge: Merge = "concat",
    activation: layout.Activation = jnp.tanh,
    gate_activation: layout.Activation = jax.nn.sigmoid,
) -> dict[str, Any]:
    """Returns the parameters of the Flax cell that computes the same as `layer`.

    `from_flax` returns the same parameters, to the last bit.

    Args:
      layer: a layer as from `from_flax`: `rnn` or `bidirectional` of an `lstm`, a `gru`, an `mgu(gate="keep")`, both
        with the reset after the product, a `janet(beta=0.0)`, an `elman` or a `conv_lstm`.
      params: its parameters.
      cell: the target class, such as `"nnx.OptimizedLSTMCell"`; None: linen's.
      merge: the `merge_fn` of the target `Bidirectional`.
      activation: the target cell's `activation_fn`.
      gate_activation: the target cell's `gate_fn`.

    Returns:
      Nested dicts of arrays by Flax's names, zeros where a layer has no bias; in `Bidirectional` after the path
      `forward_rnn`, `cell`. For linen they are `variables["params"]`, and `nnx.update(module, …)` takes NNX's.

    Raises:
      ValueError: Flax has no such cell, or `params` are not those of `layer`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.rnn(jaxrnn.lstm(8))
      >>> weights = jaxrnn.interop.to_flax(layer, layer.init(jax.random.key(0), 3), cell="nnx.OptimizedLSTMCell")
      >>> jax.tree.map(jax.numpy.shape, weights)
      {'dense_h': {'bias': (32,), 'kernel': (8, 32)}, 'dense_i': {'kernel': (3, 32)}}
    """
    where = "to_flax"
    cells, kinds = level_of(where, params), dict.fromkeys(form.kind for form in FORMS.values())
    kind = layout.kind_of(where, cells[0], tuple(kinds))
    choices = [name for name, form in FORMS.items() if form.kind == kind]
    if cell is not None:
        checks.check_choice(where, "cell", cell, tuple(choices))
    form = FORMS[cell or choices[0]]
    paths = [f"{way}_rnn/cell/" for way in ("forward", "backward")] if len(cells) == 2 else [""]

    def convert(params: Params) -> dict[str, Any]:
        parts = [_weights(where, own, form) for own in level_of(where, params)]
        return names.nested(names.prefixed(paths, parts))

    reader = partial(from_flax, merge=merge, activation=activation, gate_activation=gate_activation)
    return verified(where, layer, params, convert, reader)


def _directions(where: str, found: dict[str, names.Weights]) -> list[tuple[str, names.Weights]]:
    """Returns `names.directions`; a single group with Flax's name of one direction becomes both."""
    directions = names.directions(where, found)
    shared = len(found) == 1 and {"forward_rnn", "backward_rnn"} & set(next(iter(found)).split("/"))
    return directions * 2 if shared else directions


def _direction(where: str, weights: names.Weights, activations: dict[str, layout.Activation]) -> Direction:
    form = _recognised(weights)
    if form.kind == "elman":
        activations = dict(activations)
        layout.check_fixed(where, "a SimpleCell has no gates", gate_activation=activations.pop("gate_activation"))
    if form.kind == "conv lstm":
        layout.check_fixed(where, "ConvLSTMCell has no other", **activations)
        return convolution.read(where, weights, form.weights())
    names.check_names(where, weights, form.weights(), "give the parameters of one cell")
    first_input, first_state = f"{form.inputs[0]}/kernel", f"{form.states[0]}/kernel"
    names.check_axes(where, weights, first_input, 2)
    names.check_axes(where, weights, first_state, 2)
    features = weights[first_state].shape[0]
    columns = form.gates * features // len(form.inputs)
    shapes: names.Shapes = {f"{module}/kernel": (weights[first_input].shape[0], columns) for module in form.inputs}
    shapes |= {f"{module}/kernel": (features, columns) for module in form.states}
    shapes |= {f"{module}/bias": (columns,) for module in (*form.biased, *form.candidate)}
    names.check_shapes(where, weights, shapes, f"{features} features")

    def gathered(modules: tuple[str, ...], leaf: str) -> Array:
        flat = jnp.concatenate([weights[f"{module}/{leaf}"] for module in modules], axis=-1)
        return layout.split(flat, form.gates)

    params = {"kernel": gathered(form.inputs, "kernel"), "recurrent_kernel": gathered(form.states, "kernel")}
    params["bias"] = gathered(form.biased, "bias")
    if form.kind in ("gru", "mgu"):
        zeros = jnp.zeros_like(params["bias"][0])
        params["recurrent_bias"] = weights[f"{form.candidate[0]}/bias"] if form.candidate else zeros
    return CELLS[form.kind](features, **activations), params


def _recognised(weights: names.Weights) -> Form:
    """Returns the form whose names fit best, and of those with the same names the one whose shapes fit."""

    def misfit(form: Form) -> tuple[int, bool]:
        state = weights.get(f"{form.states[0]}/kernel")
        rows, columns = (0, 1) if state is None or state.ndim != 2 else state.shape
        return len(weights.keys() ^ form.weights()), columns * len(form.states) != rows * form.gates

    return min(FORMS.values(), key=misfit)


def _weights(where: str, params: Params, form: Form) -> names.Weights:
    if form.kind == "conv lstm":
        return convolution.write(params, form.weights())

    def spread(modules: tuple[str, ...], leaf: str, array: np.ndarray) -> names.Weights:
        parts = np.split(layout.join(array), len(modules), axis=-1)
        return {f"{module}/{leaf}": part for module, part in zip(modules, parts, strict=True)}

    bias = layout.bias_or_zeros(params)
    weights = spread(form.inputs, "kernel", params["kernel"])
    weights |= spread(form.states, "kernel", params["recurrent_kernel"])
    weights |= spread(form.biased, "bias", bias)
    recurrent_bias = params.get("recurrent_bias", np.zeros_like(bias[0]))
    if form.candidate:
        weights[f"{form.candidate[0]}/bias"] = recurrent_bias
    elif recurrent_bias.any():
        raise ValueError(f"{where}: recurrent_bias is not zero, expected zeros: this cell has none; linen.GRUCell does")
    return weights
