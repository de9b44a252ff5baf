"""`conv_lstm` against Keras's ConvLSTM2D, whose results `golden/make_keras_conv.py` keeps."""

import numpy as np
from golden import store
from golden.store import H

import jaxrnn


def test_agrees_with_keras():
    golden = store.load("keras_conv_lstm")
    given, outputs = golden["inputs"], golden["outputs"]
    # Keras's gates are in the same order, side by side in the last axis.
    params = {
        name: given[name].reshape(*given[name].shape[:-1], 4, H) for name in ("kernel", "recurrent_kernel", "bias")
    }
    cell = jaxrnn.conv_lstm(H, params["kernel"].shape[:2])
    carry, ys = jaxrnn.unroll(cell, params, given["xs"].swapaxes(0, 1), jaxrnn.LSTMCarry(given["c"], given["h"]))
    np.testing.assert_allclose(ys.swapaxes(0, 1), outputs["ys"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(carry.c, outputs["c"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(carry.h, outputs["h"], rtol=0, atol=1e-5)


def test_file_says_how_it_was_made():
    made = {name: value.item() for name, value in store.load("keras_conv_lstm")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("keras ")
