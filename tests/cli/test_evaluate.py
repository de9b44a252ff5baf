"""`python -m jaxrnn eval`: a text, beside n-gram models of what the model has learned from, on the same characters."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxrnn.cli
from cli.runs import TEXT, lines
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, model, vocabulary
from jaxrnn.cli.ngram import witten_bell

pytestmark = pytest.mark.usefixtures("kept_programs")
Capture = pytest.CaptureFixture[str]
OTHER = "a quick dog jumps over the brown fox\n" * 10


def evaluated(capsys: Capture, *flags: str) -> str:
    assert main(["eval", *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def scores(out: str) -> dict[str, float]:
    return {name: float(bits) for name, bits in re.findall(r"^  (\S+) +(\d\.\d{3})\b", out, re.MULTILINE)}


def grams(ids: np.ndarray, split: int, size: int, begin: int) -> dict[str, float]:
    return {f"{n}-gram": round(b, 3) for n, b in enumerate(witten_bell(ids, split, size, begin=begin), 1)}


def moved(made: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose text is not where it was."""
    copy = shutil.copytree(made / "run", tmp_path / "copy")
    saved = checkpoint.load(copy / "checkpoint")
    (copy / "checkpoint").write_bytes(checkpoint.packed(**saved | {"source": str(tmp_path / "none")}))
    return copy


@pytest.mark.every
def test_the_held_out_text_has_the_figures_of_the_run(made: Path, capsys: Capture) -> None:
    about, *_, last = lines(made / "run")
    out = evaluated(capsys, "--out", f"{made}/run")
    expected = {f"{n}-gram": round(b, 3) for n, b in enumerate(about["n_gram_bits"], 1)}
    assert scores(out) == expected | {"elman": round(last["held_out_bits"], 3)}
    assert "bits per character of 176 characters" in out
    assert evaluated(capsys, "--out", f"{made}/run", "--text", f"{made}/text") == out


def test_another_text_is_scored_without_unknown_characters(made: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "other").write_text(f"É{OTHER}é?é")
    out = evaluated(capsys, "--out", f"{made}/run", "--text", f"{tmp_path}/other")
    assert "left out  4 characters that the model does not know: 'é' 2, '?' 1, 'É' 1\n" in out
    layer, params, known = jaxrnn.cli.load(made / "run")
    ids, learned = vocabulary.indices(known, OTHER), vocabulary.indices(known, TEXT[: len(TEXT) * 9 // 10])
    expected = grams(np.concatenate([learned, ids]), len(learned), len(known), len(learned) + 1)
    assert scores(out) == expected | {"elman": round(model.evaluator(layer)(params, ids), 3)}
    assert f"bits per character of {len(OTHER) - 1} characters" in out


def test_without_the_text_there_are_no_n_grams(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = moved(made, tmp_path)
    (tmp_path / "other").write_text(OTHER)
    out = evaluated(capsys, "--out", str(run), "--text", f"{tmp_path}/other")
    assert [*scores(out)] == ["elman"]
    assert re.search(r"n-grams   none: .*its text \S*/none is no file here; they would be counted there\n", out)
    assert main(["eval", "--out", str(run)]) == 2
    assert re.fullmatch(r"jaxrnn: .* is no file here; name its text with --text.*\n", capsys.readouterr().err)
    (tmp_path / "none").write_text(TEXT[::-1])  # another text in its place
    out = evaluated(capsys, "--out", str(run), "--text", f"{tmp_path}/other")
    assert [*scores(out)] == ["elman"] and "was trained on another text than" in out


def test_the_text_may_have_moved(made: Path, tmp_path: Path, capsys: Capture) -> None:
    expected = scores(evaluated(capsys, "--out", f"{made}/run"))
    assert scores(evaluated(capsys, "--out", str(moved(made, tmp_path)), "--text", f"{made}/text")) == expected


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary(
    made: Path, tmp_path: Path, capsys: Capture
) -> None:
    copy = moved(made, tmp_path)
    saved = checkpoint.load(copy / "checkpoint")
    readout = saved["state"]["params"]["layer_5"]
    saved["state"]["params"]["layer_5"] = {name: np.zeros_like(leaf) for name, leaf in readout.items()}
    (copy / "checkpoint").write_bytes(checkpoint.packed(**saved))
    out = evaluated(capsys, "--out", str(copy), "--text", f"{made}/text")
    assert scores(out)["elman"] == round(math.log2(28), 3)
