"""Weights from and to Keras: agreement with its layers, round trips, and errors."""

import re

import chex
import jax
import numpy as np
import pytest
from golden import store
from golden.outcome import drawn
from golden.store import D, H

import jaxrnn
from jaxrnn.interop import carry_from_keras, carry_to_keras, from_keras, to_keras

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETWORKS = {
    "lstm": {},
    "lstm_without_bias": {},
    "lstm_hard_sigmoid": {"gate_activation": jax.nn.hard_sigmoid},
    "gru": {"kind": "GRU", "merge": "sum"},
    "gru_hard_sigmoid": {"kind": "GRU", "gate_activation": jax.nn.hard_sigmoid, "activation": jax.nn.elu},
    "gru_before": {"kind": "GRU", "merge": "ave"},
    "gru_without_bias": {"kind": "GRU", "reset_after": True},
    "gru_before_without_bias": {"kind": "GRU", "reset_after": False},
    "simple_rnn": {"kind": "SimpleRNN", "merge": "mul", "activation": jax.nn.relu},
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def read(name):
    """Golden file, layer and parameters."""
    golden = store.load(f"keras_network_{name}")
    return golden, *from_keras(golden["inputs"]["weights"], **NETWORKS[name])


def flat(tree, path=""):
    """Nested dicts by their paths."""
    parts = [
        flat(leaf, f"{path}{key}/") if isinstance(leaf, dict) else {path + key: leaf} for key, leaf in tree.items()
    ]
    return {key: leaf for part in parts for key, leaf in part.items()}


def listed(states):
    """As Keras's layers take and give them."""
    return [states[str(i)] for i in range(len(states))]


@pytest.mark.sampled
@every_network
def test_agrees_with_keras(name):
    golden, layer, params = read(name)
    inputs, outputs = golden["inputs"], golden["masked"]["outputs"]
    first = carry_from_keras(layer, params, listed(inputs["carry"]))
    carry, ys = jaxrnn.unroll(layer, params, inputs["xs"], first, mask=golden["mask"])
    expected = (listed(outputs["carry"]), outputs["ys"])
    chex.assert_trees_all_close((carry_to_keras(carry), ys), expected, rtol=0, atol=1e-5)


@pytest.mark.sampled
@every_network
def test_round_trip(name):
    golden, layer, params = read(name)
    options = {option: value for option, value in NETWORKS[name].items() if option not in ("kind", "reset_after")}
    weights = to_keras(layer, params, **options)
    chex.assert_trees_all_equal(params, from_keras(weights, **NETWORKS[name])[1])

    theirs = flat(golden["inputs"]["weights"])
    outer = next(iter(theirs)).split("/")[0] + "/" if "forward" in params else ""
    names = [path.removeprefix(outer) if outer else path.split("/")[-1] for path in theirs]
    assert list(weights) == names  # in Keras's order, as `set_weights` takes them
    for found, weight in zip(weights.values(), theirs.values(), strict=True):
        if weight.shape != (2, 3 * H):
            np.testing.assert_array_equal(found, weight)
        else:  # the two biases of a GRU, merged where they meet
            np.testing.assert_array_equal(found.sum(0), weight.sum(0))
            np.testing.assert_array_equal(found[1], [*np.zeros(2 * H), *weight[1, 2 * H :]])


def weights(gates=4, **others):
    return {"kernel": np.ones((D, gates * H)), "recurrent_kernel": np.ones((H, gates * H)), **others}


BOTH = {f"{way}_lstm/lstm_cell/{name}": weight for way in ("forward", "backward") for name, weight in weights().items()}
WRONG = {
    "missing": (
        {"kernel": np.ones((D, 4 * H))},
        {},
        "from_keras: weights lack ['recurrent_kernel'], expected ['kernel', ",
    ),
    "missing in one direction": (
        {name: weight for name, weight in BOTH.items() if name != "backward_lstm/lstm_cell/kernel"},
        {},
        "from_keras: backward_lstm/lstm_cell: weights lack ['kernel'], expected ['kernel', 'recurrent_kernel']",
    ),
    "unknown": (
        weights(gamma=np.ones(3)),
        {},
        "'gamma' is unknown, expected names that end in kernel, recurrent_kernel, b",
    ),
    "kind": (weights(3), {}, "'kernel' has shape (3, 15), expected (3, 20) from kind='LSTM' with 5 features"),
    "no kind": (weights(), {"kind": "lstm"}, "kind is 'lstm', expected one of 'LSTM', 'GRU', 'SimpleRNN'"),
    "bias": (weights(bias=np.ones((2, 20))), {}, "'bias' has shape (2, 20), expected (20,) from kind='LSTM'"),
    "axes": (weights(kernel=np.ones(3)), {}, "'kernel' has shape (3,), expected 2 axes"),
    "reset": (weights(3), {"kind": "GRU"}, "reset_after is None, expected True or False: without a bias nothing tells"),
    "another reset": (
        weights(3, bias=np.ones(15)),
        {"kind": "GRU", "reset_after": True},
        "reset_after is True, expected False from a bias of shape (15,)",
    ),
    "no gates": (
        weights(1),
        {"kind": "SimpleRNN", "gate_activation": jax.nn.relu},
        "expected jax.nn.sigmoid: a SimpleRNN has no gates",
    ),
    "list": (
        [np.ones(3)],
        {},
        "weights is a list, expected a mapping such as {v.path: v.numpy() for v in layer.weights}",
    ),
    "two layers": (
        {f"{layer}/lstm_cell/{name}": weight for layer in ("lstm", "lstm_1") for name, weight in weights().items()},
        {},
        "weights are those of ['lstm/lstm_cell', 'lstm_1/lstm_cell'], expected one cell's, or those of t",
    ),
}


@pytest.mark.parametrize(("own", "options", "message"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_do_not_fit(own, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_keras(own, **options)


HAS_NONE = {
    "activation": (
        jaxrnn.rnn(jaxrnn.elman(H, activation=jax.nn.relu)),
        "layer computes something else than keras would",
    ),
    "gate activation": (
        jaxrnn.rnn(jaxrnn.lstm(H, gate_activation=jax.nn.hard_sigmoid)),
        "layer computes something else than keras would",
    ),
    "reset": (
        jaxrnn.rnn(jaxrnn.gru(H, reset="to_bias")),
        "['bias', 'kernel', 'recurrent_kernel', 'reset_bias'], expected ",
    ),
    "gates": (jaxrnn.rnn(jaxrnn.coupled_lstm(H)), "layer computes something else than keras would"),
    "stack": (
        jaxrnn.stack(*[jaxrnn.rnn(jaxrnn.lstm(H))] * 2),
        "params have 2 levels, expected 1; give them one by one",
    ),
}


@pytest.mark.parametrize(("layer", "message"), HAS_NONE.values(), ids=HAS_NONE.keys())
def test_layers_that_keras_has_not(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        to_keras(layer, drawn(layer))


@every_network
def test_file_says_how_it_was_made(name):
    made = {key: value.item() for key, value in store.load(f"keras_network_{name}")["made"].items()}
    assert made["command"] == "python tests/golden/make_keras_networks.py"
    assert f"SEED = {made['seed']}" in (store.FOLDER / "make_keras_networks.py").read_text()
    assert made["versions"].startswith("keras ")
