"""Outputs, final carries and all gradients against Haiku's cores, whose results `golden/make_haiku.py` keeps."""

import chex
import numpy as np
import pytest
from golden import store
from golden.outcome import outcome, unrolled

import jaxrnn
from jaxrnn.interop import from_haiku

KINDS = ["lstm", "gru_before", "elman_relu", "conv_lstm"]
FILES = [*KINDS, "resets"]


@pytest.mark.sampled
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_haiku(kind, direction):
    golden = store.load(f"haiku_{kind}")
    program = unrolled(kind, from_haiku, reverse=direction == "backward")
    result = outcome(program, golden["inputs"], golden["cotangents"])
    chex.assert_trees_all_close(result, golden["plain"][direction], rtol=0, atol=1e-5)


@pytest.mark.every
def test_a_reset_core_from_the_end_has_its_flags_one_step_earlier():
    """A flag of Haiku's clears the state before its step in the order of the run: it cuts behind that step in time."""
    golden = store.load("haiku_resets")
    layer, params = from_haiku(golden["inputs"]["weights"])
    reversed_layer, xs, flags = jaxrnn.rnn(jaxrnn.lstm(store.H), reverse=True), golden["inputs"]["xs"], golden["resets"]
    later = np.concatenate([np.zeros_like(flags[:1]), flags[:-1]])
    forward = jaxrnn.unroll(layer, params, xs, resets=flags)[1]
    backward = jaxrnn.unroll(reversed_layer, params, xs, resets=later)[1]
    chex.assert_trees_all_close((forward, backward), (golden["ys"]["forward"], golden["ys"]["backward"]), atol=1e-5)
    same = jaxrnn.unroll(reversed_layer, params, xs, resets=flags)[1]
    assert abs(same - golden["ys"]["backward"]).max() > 0.01


@pytest.mark.parametrize("kind", FILES)
def test_file_says_how_it_was_made(kind):
    made = {name: value.item() for name, value in store.load(f"haiku_{kind}")["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert (store.FOLDER / script).is_file()
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("dm-haiku ")
