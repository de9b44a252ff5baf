"""Outputs, final carries and all gradients against PyTorch's layers, whose results `golden/make_torch.py` keeps."""

import chex
import numpy as np
import pytest
from golden import store
from golden.outcome import outcome, unrolled

from jaxrnn.interop import from_torch

pytestmark = pytest.mark.usefixtures("quick_compilation")

KINDS = ["lstm", "gru", "elman"]


@pytest.mark.sampled
@pytest.mark.parametrize("method", ["scan", "fused"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("way", ["plain", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torch(kind, way, direction, method):
    golden = store.load(f"torch_{kind}")
    lengths = golden["lengths"] if way == "packed" else None
    program = unrolled(kind, from_torch, lengths=lengths, reverse=direction == "backward", method=method)
    result = outcome(program, golden["inputs"], golden["cotangents"])

    chex.assert_trees_all_close(result, golden[way][direction], rtol=0, atol=1e-5)
    if lengths is not None:
        padding = np.arange(store.T)[:, None] >= lengths
        assert not result["outputs"]["ys"][padding].any()  # exactly zero


@pytest.mark.parametrize("kind", KINDS)
def test_file_says_how_it_was_made(kind):
    made = {name: value.item() for name, value in store.load(f"torch_{kind}")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("torch ")
