"""Weights and states from and to Keras's convolutional LSTMs, whose results `golden/make_keras_images.py` keeps."""

import re

import chex
import jax
import pytest
from golden import store
from golden.outcome import drawn
from golden.store import H

import jaxrnn
from jaxrnn.interop import carry_from_keras, carry_to_keras, from_keras, to_keras

pytestmark = pytest.mark.usefixtures("quick_compilation")

OPTIONS = {
    "line": {"dilation": 2},
    "plane": {"strides": (2, 1), "padding": "same"},
    "volume": {"strides": 2, "gate_activation": jax.nn.hard_sigmoid},
}
KINDS = dict(zip(OPTIONS, ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), strict=True))
every_layer = pytest.mark.parametrize("name", OPTIONS)


def read(name):
    golden = store.load(f"keras_images_{name}")
    return golden, *from_keras(golden["inputs"]["weights"], kind=KINDS[name], **OPTIONS[name])


def listed(states):
    return [states[str(i)] for i in range(len(states))]


@every_layer
def test_agrees_with_keras(name):
    golden, layer, params = read(name)
    inputs, outputs = golden["inputs"], golden["outputs"]
    first = carry_from_keras(layer, params, listed(inputs["carry"]))
    carry, ys = jaxrnn.unroll(layer, params, inputs["xs"], first)
    expected = (listed(outputs["carry"]), outputs["ys"])
    chex.assert_trees_all_close((carry_to_keras(carry), ys), expected, rtol=0, atol=1e-5)


@pytest.mark.sampled
@every_layer
def test_round_trip(name):
    golden, layer, params = read(name)
    weights = to_keras(layer, params, **OPTIONS[name])
    chex.assert_trees_all_equal(params, from_keras(weights, kind=KINDS[name], **OPTIONS[name])[1])
    theirs = [leaf for group in golden["inputs"]["weights"].values() for leaf in jax.tree.leaves(flat(group))]
    chex.assert_trees_all_equal(list(weights.values()), theirs)


def flat(tree):
    """The leaves in the order of the file, which is Keras's; JAX would sort them."""
    return [flat(leaf) if isinstance(leaf, dict) else leaf for leaf in tree.values()]


def test_names_are_those_of_keras():
    _, layer, params = read("plane")
    names = [f"{way}_conv_lstm2d/conv_lstm_cell" for way in ("forward", "backward")]
    expected = [f"{name}/{leaf}" for name in names for leaf in ("kernel", "recurrent_kernel", "bias")]
    assert list(to_keras(layer, params, **OPTIONS["plane"])) == expected


SAME = jaxrnn.rnn(jaxrnn.conv_lstm(H, (3,)))
DILATED = jaxrnn.rnn(jaxrnn.conv_lstm(H, (3,), padding="valid", dilation=9))
PARAMS = drawn(SAME)
OTHER = "layer computes something else than keras would with these weights"
WRONG = {
    "padding": (lambda: to_keras(SAME, PARAMS), OTHER),
    "dilation": (lambda: to_keras(DILATED, PARAMS), OTHER),
    "no convolution": (
        lambda: from_keras({"kernel": PARAMS["kernel"]}, padding="same"),
        "from_keras: padding='same', strides=1, dilation=1 are given for kind='LSTM', expected a ConvLSTM1D, 2D or 3D",
    ),
    "bool": (
        lambda: from_keras({"kernel": PARAMS["kernel"]}, strides=True),
        "from_keras: an entry of strides is True, expected an int of 1 or more",
    ),
    "axes": (
        lambda: from_keras(to_keras(SAME, PARAMS, padding="same"), kind="ConvLSTM2D"),
        "'kernel' has shape (3, 3, 20), expected 4 axes",
    ),
    "shape": (
        lambda: from_keras(to_keras(SAME, PARAMS, padding="same") | {"bias": PARAMS["bias"]}, kind="ConvLSTM1D"),
        "'bias' has shape (4, 5), expected (20,) from kind='ConvLSTM1D' with 5 features",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@every_layer
def test_file_says_how_it_was_made(name):
    made = {key: value.item() for key, value in store.load(f"keras_images_{name}")["made"].items()}
    assert made["command"] == "python tests/golden/make_keras_images.py"
    assert f"SEED, T = {made['seed']}, 3" in (store.FOLDER / "make_keras_images.py").read_text()
    assert made["versions"].startswith("keras ")
