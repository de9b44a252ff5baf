"""Outputs, final carries and all gradients against Haiku's cores, whose results `golden/make_haiku.py` keeps."""

import chex
import pytest
from golden import store
from golden.outcome import outcome, unrolled

from jaxrnn.interop import from_haiku

KINDS = ["lstm", "gru_before", "elman_relu", "conv_lstm"]


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_haiku(kind, direction):
    golden = store.load(f"haiku_{kind}")
    program = unrolled(kind, from_haiku, reverse=direction == "backward")
    result = outcome(program, golden["inputs"], golden["cotangents"])
    chex.assert_trees_all_close(result, golden["plain"][direction], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_file_says_how_it_was_made(kind):
    made = {name: value.item() for name, value in store.load(f"haiku_{kind}")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("dm-haiku ")
