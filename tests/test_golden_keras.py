"""Outputs, final carries and all gradients against Keras's layers, whose results `golden/make_keras.py` keeps."""

import chex
import pytest
from golden import convert, store
from golden.outcome import outcome, unrolled

KINDS = ["lstm", "gru", "gru_before", "elman"]


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("way", ["plain", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_keras(kind, way, direction):
    golden = store.load(f"keras_{kind}")
    mask = golden["mask"] if way == "masked" else None
    program = unrolled(kind, convert.from_keras, mask=mask, reverse=direction == "backward")
    result = outcome(program, golden["inputs"], golden["cotangents"])

    chex.assert_trees_all_close(result, golden[way][direction], rtol=0, atol=2e-5)
    if mask is not None:
        assert not result["outputs"]["ys"][~mask].any()  # exactly zero


@pytest.mark.parametrize("kind", KINDS)
def test_file_says_how_it_was_made(kind):
    made = {name: value.item() for name, value in store.load(f"keras_{kind}")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("keras ")
