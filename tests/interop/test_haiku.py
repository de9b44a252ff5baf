"""Weights from and to Haiku: round trips and errors; `test_golden_haiku.py` holds outputs and gradients against it."""

import re

import chex
import numpy as np
import pytest
from golden import store
from golden.outcome import drawn
from golden.store import D, H

import jaxrnn
from jaxrnn.interop import from_haiku, to_haiku

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = {"lstm": "lstm", "gru_before": "gru", "elman_relu": "vanilla_rnn", "conv_lstm": "conv1_d_lstm"}


def weights_of(kind):
    """By module, as Haiku has them; store nests them by path."""
    (modules,) = store.load(f"haiku_{kind}")["inputs"]["weights"].values()
    core = NAMES[kind]
    return {core: modules} if core == "gru" else {f"{core}/{name}": own for name, own in modules.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", NAMES)
def test_round_trip(kind):
    weights = weights_of(kind)
    layer, params = from_haiku({f"network/~/{module}": own for module, own in weights.items()})
    again = to_haiku(layer, params)
    once_more = from_haiku(again)[1]
    forget = {"lstm": 1e-7, "conv_lstm": 2e-7}.get(kind, 0)  # 1 is added to the forget bias, and taken from it
    chex.assert_trees_all_close(params, once_more, rtol=0, atol=forget)
    if kind in ("elman_relu", "conv_lstm"):  # two biases are one
        first, second = sorted(weights, key=lambda module: module.endswith(("linear_1", "hidden_to_hidden")))
        weights[first]["b"] += weights[second]["b"]
        weights[second]["b"][:] = 0
    chex.assert_trees_all_close(again, weights, rtol=0, atol=forget)


def test_the_forget_bias_is_folded_in_exactly_where_floats_allow():
    bias = np.arange(4 * H, dtype=np.float32) / 64
    weights = {"lstm/linear": {"w": np.ones((D + H, 4 * H), np.float32), "b": bias}}
    layer, params = from_haiku(weights)
    np.testing.assert_array_equal(params["bias"][1], 1 + bias[2 * H : 3 * H])  # Haiku has `i g f o`
    chex.assert_trees_all_equal(to_haiku(layer, params), weights)


def test_vanilla_rnn_with_one_bias():
    weights = weights_of("elman_relu")
    del weights["vanilla_rnn/linear_1"]["b"]
    layer, params = from_haiku(weights)
    chex.assert_trees_all_equal(to_haiku(layer, params, double_bias=False), weights)


@pytest.mark.parametrize(
    "cell",
    [jaxrnn.lstm(H, use_bias=False), jaxrnn.gru(H, reset="before", use_bias=False)],
    ids=["lstm", "gru"],
)
def test_a_layer_without_a_bias_has_one_in_haiku(cell):
    layer = jaxrnn.rnn(cell)
    params = drawn(layer)
    weights = to_haiku(layer, params, name="core")
    assert all(name.startswith("core") for name in weights)
    again = from_haiku(weights)[1]
    assert not again.pop("bias").any()
    chex.assert_trees_all_equal(again, params)


LSTM, GRU, VANILLA, CONV = (weights_of(kind) for kind in NAMES)
WRONG = {
    "missing": (
        {"gru": {"w_i": np.ones((D, 3 * H)), "w_h": np.ones((H, 3 * H))}},
        "from_haiku: gru: weights lack ['b']",
    ),
    "unknown": (
        {**LSTM, "head": {"scale": np.ones(3)}},
        "'head/scale' is unknown, expected names that end in linear/w, ",
    ),
    "several": (LSTM | GRU, "params are those of ['lstm', 'gru'], expected one core's; give them one by one"),
    "LSTM": (
        {"linear": {"w": np.ones((5, 20)), "b": np.ones(20)}},
        "'linear/w' has shape (5, 20), expected (D + H, 4·H)",
    ),
    "LSTM bias": (
        {"lstm/linear": {"w": np.ones((8, 20)), "b": np.ones(5)}},
        "'linear/b' has shape (5,), expected (20,)",
    ),
    "GRU": (
        {"gru": {**GRU["gru"], "w_i": np.ones((D, 20))}},
        "'w_i' has shape (3, 20), expected (3, 15) from a GRU of 5",
    ),
    "Conv1DLSTM": (
        {**CONV, "conv1_d_lstm/hidden_to_hidden": {"w": np.ones((3, 4, 20)), "b": np.ones(20)}},
        "'input_to_hidden/w' has shape (3, 3, 20), expected (3, 3, 16) from 4 features",
    ),
    "Conv1DLSTM axes": (
        {"conv1_d_lstm": {"input_to_hidden": {"w": np.ones(3)}, "hidden_to_hidden": {"w": np.ones(3)}}},
        "'input_to_hidden/w' has shape (3,), expected [*window, C, 4·F]",
    ),
    "VanillaRNN": (
        {**VANILLA, "vanilla_rnn/linear_1": {"w": np.ones((4, 4))}},
        "'linear_1/w' has shape (4, 4), expected (5, 5) from 'linear/w' of shape (3, 5)",
    ),
}


@pytest.mark.parametrize(("params", "message"), WRONG.values(), ids=WRONG.keys())
def test_parameters_that_do_not_fit(params, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_haiku(params)


HAS_NONE = {
    "activation": (jaxrnn.rnn(jaxrnn.elman(H)), "layer computes something else than haiku would"),
    "reset": (jaxrnn.rnn(jaxrnn.gru(H)), "expected those of one of these cells: lstm, gru before, elman"),
    "reset without a bias": (
        jaxrnn.rnn(jaxrnn.gru(H, use_bias=False)),
        "layer computes something else than haiku would",
    ),
    "directions": (jaxrnn.bidirectional(jaxrnn.lstm(H)), "params have two directions, expected one"),
}


@pytest.mark.parametrize(("layer", "message"), HAS_NONE.values(), ids=HAS_NONE.keys())
def test_layers_that_haiku_has_not(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        to_haiku(layer, drawn(layer))
