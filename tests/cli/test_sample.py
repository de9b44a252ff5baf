"""`python -m jaxrnn sample`, and the model that `jaxrnn.cli.load` reads: neither needs the text."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn.cli
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, model, text
from jaxrnn.cli.sample import CHUNK, show, written

pytestmark = pytest.mark.usefixtures("kept_programs")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(made: Path, tmp_path: Path) -> str:
    """A copy of the finished run, without its text."""
    copy = shutil.copytree(made / "run", tmp_path / "copy")
    saved = checkpoint.load(copy / "checkpoint")
    (copy / "checkpoint").write_bytes(checkpoint.packed(**saved | {"source": str(tmp_path / "none")}))
    return str(copy)


def sampled(capsys: Capture, *flags: str) -> str:
    assert main(["sample", *flags]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.endswith("\n")
    return out[:-1]


def greedy(run: str, prompt: str, length: int) -> str:
    """The likeliest continuation, one step at a time."""
    layer, params, vocabulary = jaxrnn.cli.load(run)
    assert layer.step is not None
    step, carry, whole = jax.jit(layer.step), layer.init_carry(params), prompt
    while len(whole) < len(prompt) + length:
        for c in whole[-1:] if len(whole) > len(prompt) else prompt:
            carry, logits = step(params, carry, vocabulary.index(c))
        whole += vocabulary[int(logits.argmax())]
    return whole


@pytest.mark.every
def test_the_likeliest_characters_follow_the_whole_prompt(run: str, capsys: Capture) -> None:
    expected = greedy(run, "lazy fox", 20)
    likeliest = ["--out", run, "--prompt", "lazy fox", "--length", "20"]
    assert sampled(capsys, *likeliest, "--temperature", "0") == expected
    assert sampled(capsys, *likeliest, "--top-k", "1") == expected
    assert sampled(capsys, *likeliest, "--top-p", "0.001") == expected
    assert sampled(capsys, "--out", run, "--length", "5", "--temperature", "0") == greedy(run, "\n", 5)[1:]


@pytest.mark.sampled
def test_each_sample_is_another_unless_a_seed_repeats_it(run: str, capsys: Capture) -> None:
    long = ["--out", run, "--length", "60", "--temperature", "1"]
    first, second = sampled(capsys, *long), sampled(capsys, *long)
    assert first != second
    assert len(first) == len(second) == 60
    assert sampled(capsys, *long, "--seed", "7") == sampled(capsys, *long, "--seed", "7")
    assert sampled(capsys, *long, "--seed", "7") != sampled(capsys, *long, "--seed", "8")


def test_characters_come_while_others_are_still_to_be_drawn(run: str, capsys: Capture) -> None:
    printed = []

    def pieces() -> Iterator[str]:
        for piece in ("b", "c\x1b"):
            printed.append(capsys.readouterr().out)
            yield piece

    assert show("a", pieces()) == "abc\x1b"
    assert printed == ["a", "b"] and capsys.readouterr().out == "c\ufffd"
    layer, params, vocabulary = jaxrnn.cli.load(run)
    drawing = written(layer, params, vocabulary, np.array([0]), jax.random.key(0), 10**9, 1.0)
    drawn = next(drawing) + next(drawing)
    assert len(drawn) == 2 * CHUNK
    assert drawn == "".join(written(layer, params, vocabulary, np.array([0]), jax.random.key(0), 2 * CHUNK, 1.0))


def test_the_best_checkpoint_can_be_asked_for(run: str, capsys: Capture, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    (other / "checkpoint").write_bytes(b"")
    flags = ["--out", str(other), "--seed", "1", "--length", "9"]
    assert main(["sample", *flags]) == 2
    assert "no checkpoint of this version" in capsys.readouterr().err
    assert len(sampled(capsys, *flags, "--best")) == 9


def test_what_is_loaded_is_the_model_of_the_run(made: Path, run: str) -> None:
    """The last record has its score."""
    layer, params, vocabulary = jaxrnn.cli.load(run)
    corpus = text.read(str(made / "text"))
    assert vocabulary == corpus.vocabulary
    _carry, logits = jax.jit(lambda ids: jaxrnn.unroll(layer, params, ids))(jnp.zeros((3, 2), int))
    assert logits.shape == (3, 2, len(vocabulary))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))
    bits = model.evaluator(layer)(params, corpus.held_out)
    last = (made / "run" / "metrics.jsonl").read_text().splitlines()[-1]
    assert f'"held_out_bits": {bits}' in last
    best = jaxrnn.cli.load(Path(run), best=True)[1]
    assert jax.tree.structure(best) == jax.tree.structure(params)
