"""`python -m jaxrnn export`: what it stores runs, as the guide shows it, in a process that has no jaxrnn."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import pytest

import jaxrnn.cli
import quick
from jaxrnn.__main__ import main

pytestmark = pytest.mark.usefixtures("kept_programs")
GUIDE = Path(__file__).parents[2] / "docs" / "export.md"
Capture = pytest.CaptureFixture[str]


def likeliest(run: Path, text: str, length: int) -> str:
    """The likeliest continuation of a text, by the model of a run in this process."""
    model, params, vocabulary = jaxrnn.cli.load(run)
    read, step = (jax.jit(verb, static_argnums=0) for verb in (jaxrnn.unroll, jaxrnn.step))
    carry, logits = read(model, params, jax.numpy.array([vocabulary.index(c) for c in text]))
    logits = logits[-1]
    for _ in range(length):
        text += vocabulary[int(logits.argmax())]
        carry, logits = step(model, params, carry, logits.argmax())
    return text


@pytest.mark.sampled
def test_a_process_without_jaxrnn_goes_on_as_this_one_does(made: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "book" / "model.zip"
    file.parent.mkdir()
    assert main(["export", "--out", f"{made}/run", "--file", str(file), "--platforms", "cpu", "cuda", "cpu"]) == 0
    assert re.match(rf"{file}: \d\d KiB, for cpu, cuda\n", capsys.readouterr().out)
    (served,) = re.findall(r"^```py\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    program = f'import sys\nsys.modules["jaxrnn"] = None\n{served}\nprint(json.dumps(texts))\n'
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=quick.environment() | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [likeliest(made / "run", text, 20) for text in ("the lazy", "a quick ")]
    with zipfile.ZipFile(file) as zipped:
        about = json.loads(zipped.read("about.json"))
    assert about["platforms"] == ["cpu", "cuda"] and "".join(sorted(about["vocabulary"])) == about["vocabulary"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--out", "none"], "none/checkpoint: cannot be read (No such file or directory); name the directory of a run"),
        (
            ["--file", "none/model.zip"],
            "none/model.zip: cannot be written (No such file or directory)",
        ),
        (["--platforms", "metal"], "argument --platforms: invalid choice: 'metal' (choose from"),
    ],
)
def test_what_cannot_be_stored_is_said_in_one_line(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, flags: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--out", f"{made}/run", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"jaxrnn: {said}")
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_named(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("jaxrnn.__main__.find_spec", lambda name: None)
    assert main(["export", "--out", f"{made}/run"]) == 2
    assert capsys.readouterr().err.startswith("jaxrnn: flatbuffers is not installed; pip install")
