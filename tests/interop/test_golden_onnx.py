"""`peephole_lstm` against the reference evaluator of ONNX, whose results `golden/make_onnx.py` keeps."""

import numpy as np
import pytest
from golden import store
from golden.store import H

import jaxrnn

IFGO = [0, 2, 3, 1]  # of ONNX's gates, `i o f c`
IFO = [0, 2, 1]  # of its peepholes, `i o f`


def parameters(given):
    """jaxrnn's, of ONNX's; two biases become their sum."""
    kernels = {"kernel": given["W"], "recurrent_kernel": given["R"]}
    params = {name: np.moveaxis(array.reshape(4, H, -1)[IFGO], -1, 0) for name, array in kernels.items()}
    bias = given["B"].reshape(2, 4, H).sum(0)[IFGO]
    return params | {"bias": bias, "peephole": given["P"].reshape(3, H)[IFO]}


@pytest.mark.parametrize("method", ["scan", "fused"])
def test_agrees_with_onnx(method):
    golden = store.load("onnx_peephole_lstm")
    given, outputs = golden["inputs"], golden["outputs"]
    carry = jaxrnn.LSTMCarry(c=given["initial_c"][0], h=given["initial_h"][0])
    cell = jaxrnn.peephole_lstm(H)
    carry, ys = jaxrnn.unroll(cell, parameters(given), given["X"], carry, method=method)
    np.testing.assert_allclose(ys, outputs["ys"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(carry.h, outputs["h"], rtol=0, atol=1e-5)


def test_peepholes_matter():
    """Without them, or with two of them exchanged, it would not agree."""
    golden = store.load("onnx_peephole_lstm")
    given, expected = golden["inputs"], golden["outputs"]["ys"]
    params, carry = parameters(given), jaxrnn.LSTMCarry(given["initial_c"][0], given["initial_h"][0])
    for changed in (0 * params["peephole"], params["peephole"][[0, 2, 1]], params["peephole"][[1, 0, 2]]):
        _, ys = jaxrnn.unroll(jaxrnn.peephole_lstm(H), params | {"peephole": changed}, given["X"], carry)
        assert np.abs(ys - expected).max() > 1e-3


def test_file_says_how_it_was_made():
    made = {name: value.item() for name, value in store.load("onnx_peephole_lstm")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("onnx ")
