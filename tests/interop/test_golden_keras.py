"""Outputs, final carries and all gradients against Keras's layers, whose results `golden/make_keras.py` keeps."""

from functools import partial

import chex
import pytest
from golden import store
from golden.outcome import outcome, unrolled

from jaxrnn.interop import from_keras

pytestmark = pytest.mark.usefixtures("quick_compilation")

KINDS = {"lstm": "LSTM", "gru": "GRU", "gru_before": "GRU", "elman": "SimpleRNN"}


@pytest.mark.sampled
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("way", ["plain", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_keras(kind, way, direction):
    golden = store.load(f"keras_{kind}")
    mask = golden["mask"] if way == "masked" else None
    program = unrolled(kind, partial(from_keras, kind=KINDS[kind]), mask=mask, reverse=direction == "backward")
    result = outcome(program, golden["inputs"], golden["cotangents"])

    chex.assert_trees_all_close(result, golden[way][direction], rtol=0, atol=1e-5)
    if mask is not None:
        assert not result["outputs"]["ys"][~mask].any()  # exactly zero


@pytest.mark.parametrize("kind", KINDS)
def test_file_says_how_it_was_made(kind):
    made = {name: value.item() for name, value in store.load(f"keras_{kind}")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("keras ")
