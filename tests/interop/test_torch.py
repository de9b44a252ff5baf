"""Weights from and to PyTorch: agreement with its modules, round trips, and errors."""

import re

import chex
import jax
import numpy as np
import pytest
from golden import store
from golden.outcome import drawn
from golden.store import D, H

import jaxrnn
from jaxrnn.interop import carry_from_torch, carry_to_torch, from_torch, to_torch

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETWORKS = {
    "lstm": {},
    "lstm_projected": {},
    "lstm_projected_without_bias": {},
    "gru": {},
    "gru_without_bias": {},
    "rnn_relu": {"nonlinearity": "relu"},
    "rnn_without_bias": {},
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def read(name):
    """Golden file, layer and parameters."""
    golden = store.load(f"torch_network_{name}")
    return golden, *from_torch(golden["inputs"]["weights"], **NETWORKS[name])


def state(states):
    """As PyTorch's modules take and give it."""
    return (states["h"], states["c"]) if "c" in states else states["h"]


@pytest.mark.sampled
@every_network
def test_agrees_with_torch(name):
    golden, layer, params = read(name)
    inputs, outputs = golden["inputs"], golden["packed"]["outputs"]
    first = carry_from_torch(layer, params, state(inputs["carry"]))
    carry, ys = jaxrnn.unroll(layer, params, inputs["xs"], first, lengths=golden["lengths"])
    expected = (state(outputs["carry"]), outputs["ys"])
    chex.assert_trees_all_close((carry_to_torch(carry), ys), expected, rtol=0, atol=1e-5)


@pytest.mark.sampled
@every_network
def test_round_trip(name):
    golden, layer, params = read(name)
    weights = to_torch(layer, params, prefix="encoder.")
    _, again = from_torch({**weights, "head.weight": np.ones(3)}, prefix="encoder.", **NETWORKS[name])
    chex.assert_trees_all_equal(params, again)

    theirs = golden["inputs"]["weights"]
    assert weights.keys() == {f"encoder.{key}" for key in theirs}
    assert all(weight.flags.writeable and weight.flags.c_contiguous for weight in weights.values())
    for key, weight in theirs.items():
        found = weights[f"encoder.{key}"]
        if not key.startswith("bias"):
            np.testing.assert_array_equal(found, weight)
        elif key.startswith("bias_ih"):
            hidden = key.replace("ih", "hh")
            np.testing.assert_array_equal(found + weights[f"encoder.{hidden}"], weight + theirs[hidden])
        else:  # all of it is in the other, but for the candidate of a GRU
            candidate = weight[2 * H :] if len(weight) == 3 * H else []
            np.testing.assert_array_equal(found, [*np.zeros(len(weight) - len(candidate)), *candidate])


def test_layers_are_what_their_names_say():
    _, params = from_torch(store.load("torch_network_lstm_projected")["inputs"]["weights"])
    shapes = jax.tree.map(np.shape, params)
    assert shapes.keys() == {"layer_0", "layer_1"}
    cell = {"kernel": (4, 4, H), "recurrent_kernel": (2, 4, H), "bias": (4, H), "projection": (H, 2)}
    assert shapes["layer_1"] == {"forward": cell, "backward": cell}


def test_names_of_a_torch_cell():
    weights = store.load("torch_gru")["inputs"]["weights"]
    assert weights.keys() == {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    layer, params = from_torch(weights)
    assert to_torch(layer, params).keys() == {f"{name}_l0" for name in weights}


def test_tensors_are_read_without_torch():
    """As arrays, by the protocol that PyTorch's tensors have, in the precision that they have."""

    class Tensor:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.array, dtype)

    weights = store.load("torch_lstm")["inputs"]["weights"]
    _, params = from_torch({name: Tensor(weight.astype(np.float16)) for name, weight in weights.items()})
    assert params["kernel"].dtype == np.float16
    np.testing.assert_array_equal(params["kernel"][:, 2], weights["weight_ih"][2 * H : 3 * H].T.astype(np.float16))


def test_parameters_do_not_follow_what_becomes_of_the_weights():
    weights = store.load("torch_lstm")["inputs"]["weights"]
    layer, params = from_torch(weights)
    before = jax.tree.map(np.array, params)
    for weight in [*weights.values(), *to_torch(layer, params).values()]:
        weight[:] = 0
    chex.assert_trees_all_equal(params, before)


def test_a_stack_with_dropout_is_the_torch_module_without():
    layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.lstm(H)), jaxrnn.dropout(0.5), jaxrnn.rnn(jaxrnn.lstm(H)))
    params = drawn(layer)
    _, again = from_torch(to_torch(layer, params))
    chex.assert_trees_all_equal((params["layer_0"], params["layer_2"]), (again["layer_0"], again["layer_1"]))


def weights(gates=4, layers=1):
    """Of a module of H features."""
    sizes = {"weight_ih": (gates * H, D), "weight_hh": (gates * H, H), "bias_ih": (gates * H,), "bias_hh": (gates * H,)}
    return {
        f"{part}_l{i}": np.ones(size if i == 0 or part != "weight_ih" else (gates * H, H))
        for i in range(layers)
        for part, size in sizes.items()
    }


WRONG = {
    "missing": (
        {name: weight for name, weight in weights(layers=2).items() if name != "bias_hh_l1"},
        {},
        "from_torch: weights lack ['bias_hh_l1'], expected ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0',"
        " 'weight_ih_l1', 'weight_hh_l1', 'bias_ih_l1', 'bias_hh_l1']; prefix= picks",
    ),
    "unknown": (
        weights() | {"head.weight": np.ones(3)},
        {},
        "have unknown ['head.weight'], expected ['weight_ih_l0', ",
    ),
    "one direction of a layer": (
        weights() | {"bias_ih_l0_reverse": np.ones(4 * H)},
        {},
        "lack ['weight_ih_l0_reverse', ",
    ),
    "shape": (
        weights() | {"bias_hh_l0": np.ones(7)},
        {},
        "'bias_hh_l0' has shape (7,), expected (20,) from 4 gates of 5 f",
    ),
    "axes": (weights() | {"weight_hh_l0": np.ones(7)}, {}, "'weight_hh_l0' has shape (7,), expected 2 axes"),
    "gates": (
        weights(gates=2),
        {},
        "'weight_hh_l0' has shape (10, 5), expected 5 rows, or 3 or 4 times as many: an RNN, ",
    ),
    "projected GRU": (weights(3) | {"weight_hr_l0": np.ones((H, H))}, {}, "only an LSTM has a projection"),
    "dtype": (
        weights() | {"bias_hh_l0": np.ones(20, int)},
        {},
        "'bias_hh_l0' has dtype int32, expected a floating one",
    ),
    "unreadable": (
        weights() | {"bias_hh_l0": object()},
        {},
        "'bias_hh_l0' is a object that NumPy cannot read, expected",
    ),
    "prefix": (
        weights(),
        {"prefix": "lstm."},
        "state_dict has no entry under prefix='lstm.', expected weights; its keys ",
    ),
    "empty": ({}, {}, "from_torch: state_dict has no entries, expected weights"),
    "no mapping": (
        [np.ones(3)],
        {},
        "from_torch: state_dict is a list, expected a mapping such as module.state_dict()",
    ),
    "nonlinearity": (weights(), {"nonlinearity": "gelu"}, "nonlinearity is 'gelu', expected one of 'tanh', 'relu'"),
    "relu of an LSTM": (
        weights(),
        {"nonlinearity": "relu"},
        "nonlinearity is 'relu', expected 'tanh' for a module of 4 ",
    ),
}


@pytest.mark.parametrize(("state_dict", "options", "message"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_do_not_fit(state_dict, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_torch(state_dict, **options)


HAS_NONE = {
    "activation": (
        jaxrnn.rnn(jaxrnn.lstm(H, activation=jax.nn.relu)),
        "layer computes something else than torch would",
    ),
    "merge": (jaxrnn.bidirectional(jaxrnn.elman(H), merge="sum"), "layer computes something else than torch would"),
    "reversed": (jaxrnn.rnn(jaxrnn.elman(H), reverse=True), "layer computes something else than torch would"),
    "reset": (jaxrnn.rnn(jaxrnn.gru(H, reset="before")), "params have 3 gates and the entries ['bias', 'kernel', 'rec"),
    "blocks": (jaxrnn.rnn(jaxrnn.slstm(H)), "there is no such module: from_torch: 'weight_hh_l0' has shape (20, "),
    "zoneout": (jaxrnn.rnn(jaxrnn.zoneout(jaxrnn.lstm(H), 0.2)), "layer computes something else than torch would"),
    "outputs": (jaxrnn.rnn(jaxrnn.with_carry(jaxrnn.lstm(H))), "layer computes something else than torch would"),
    "peepholes": (
        jaxrnn.rnn(jaxrnn.peephole_lstm(H)),
        "params have 4 gates and the entries ['bias', 'kernel', 'peephole', ",
    ),
    "readout": (
        jaxrnn.stack(jaxrnn.rnn(jaxrnn.elman(H)), jaxrnn.dense(2)),
        "params['layer_1'] has ['bias', 'kernel'], e",
    ),
    "mixed": (
        jaxrnn.stack(jaxrnn.rnn(jaxrnn.elman(H)), jaxrnn.rnn(jaxrnn.lstm(H))),
        "to_torch: there is no such module: from_torch: 'weight_ih_l1' has shape (20, 5), expected (5, 5)",
    ),
    "stack in a direction": (
        jaxrnn.bidirectional(jaxrnn.stack(jaxrnn.rnn(jaxrnn.elman(H)), jaxrnn.rnn(jaxrnn.elman(H)))),
        "params has ['backward', 'forward'], expected those of a cell",
    ),
}


@pytest.mark.parametrize(("layer", "message"), HAS_NONE.values(), ids=HAS_NONE.keys())
def test_layers_that_torch_has_not(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        to_torch(layer, drawn(layer))


def test_params_of_another_layer():
    params = drawn(jaxrnn.rnn(jaxrnn.lstm(H)))
    with pytest.raises(ValueError, match=re.escape("to_torch: params['bias'] has shape (4, 5), expected (4, 6)")):
        to_torch(jaxrnn.rnn(jaxrnn.lstm(6)), params)


@every_network
def test_file_says_how_it_was_made(name):
    made = {key: value.item() for key, value in store.load(f"torch_network_{name}")["made"].items()}
    assert made["command"] == "python tests/golden/make_torch_networks.py"
    assert f"SEED = {made['seed']}" in (store.FOLDER / "make_torch_networks.py").read_text()
    assert made["versions"].startswith("torch ")
