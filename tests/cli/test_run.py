"""`python -m jaxrnn` from end to end on a small text, and what it says to input that is wrong."""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, report
from jaxrnn.cli.model import CELLS
from jaxrnn.cli.run import OUTPUTS

TEXT = "the quick brown fox jumps over the lazy dog\n" * 40
SMALL = ["--cell", "elman", "--layers", "2", "--hidden", "8", "--steps", "6", "--window", "5", "--batch", "4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a text, and a finished run on it."""
    directory = tmp_path_factory.mktemp("made")
    (directory / "text").write_text(TEXT)
    assert main([*SMALL, "--text", f"{directory}/text", "--out", f"{directory}/run"]) == 0
    return directory


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_it_leaves_what_it_promises(made: Path) -> None:
    assert sorted(path.name for path in (made / "run").iterdir()) == sorted(OUTPUTS)
    about, *records = map(json.loads, (made / "run/metrics.jsonl").read_text().splitlines())
    assert about["characters"] == len(TEXT)
    assert about["held_out"] == len(TEXT) // 10
    assert len(about["n_gram_bits"]) == 5
    assert about["settings"]["hidden"] == 8
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["characters"] == 6 * 4 * 5
    assert records[-1]["bits"] == report.bits(records[-1]["loss"])
    assert (made / "run/loss.png").read_bytes().startswith(b"\x89PNG")
    assert set((made / "run/sample.txt").read_text()) <= set(TEXT)


def test_a_finished_run_can_be_asked_to_write(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(made)
    assert main(["--resume", "--out", f"{made}/run", "--prompt", "lazy fox"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no bar without a terminal
    assert "resumed at step 6" in out
    assert re.search(r"5-gram +\d\.\d{3}\n +elman +\d\.\d{3} +\d\.\d{3} (above|below) the best n-gram", out)
    sample = (made / "run/sample.txt").read_text()
    assert sample.startswith("lazy fox") and sample.strip() in out
    after = contents(made)
    assert {path for path in after if after[path] != before[path]} <= {made / "run/sample.txt", made / "run/checkpoint"}


# Arguments, each with what is said; {made} is the directory of the finished run.
MISTAKES = {
    "text missing": ("--text {made}/none", r"--text .*none: cannot be read \(No such file or directory\); name a"),
    "text is a directory": ("--text {made}", r"cannot be read \(Is a directory\)"),
    "text empty": ("--text {made}/empty", "has 0 characters, expected 100 or more; give a longer text"),
    "text undecodable": ("--text {made}/latin", "byte 2 is not UTF-8; convert the file first"),
    "text too short": ("--text {made}/text --window 50", r"leaves 1,584 .* more than 1,600, .* longer text, or lower"),
    "cell unknown": ("--cell lstn", r"--cell: invalid choice: 'lstn' \(choose from .*lstm"),
    "flag unknown": ("--steps 5 --speed 3", "unrecognized arguments: --speed 3; see python -m jaxrnn --help"),
    "steps zero": ("--steps 0", "--steps: '0' is not a whole number from 1 to"),
    "hidden negative": ("--hidden -3", "--hidden: '-3' is not a whole number from 1 to"),
    "batch no number": ("--batch many", "--batch: 'many' is not a whole number from 1 to"),
    "seed negative": ("--seed -1", "--seed: '-1' is not a whole number from 0 to"),
    "rate zero": ("--learning-rate 0", "--learning-rate: '0' is not a positive number"),
    "rate not a number": ("--learning-rate nan", "--learning-rate: 'nan' is not a positive number"),
    "prompt unknown": ("--text {made}/text --prompt Ünder", "--prompt has 'Ü', which the text has not; use its own"),
    "directory taken": (
        "--text {made}/text --out {made}/run",
        "holds checkpoint, .* go on with that one with --resume",
    ),
    "directory a file": ("--text {made}/text --out {made}/text", r"cannot be made \(File exists\); name a directory"),
    "directory in a file": ("--text {made}/text --out {made}/text/x", r"cannot be made \(Not a directory\)"),
    "nothing to resume": ("--resume --out {made}/none", "none/checkpoint: cannot be read .* drop --resume"),
    "other settings": ("--resume --out {made}/run --hidden 9", "--hidden is 9, but .* begun with 8; drop --hidden, or"),
    "other text": ("--resume --out {made}/run --text {made}/other", "was trained on another text than .*other; name"),
    "prompt on resuming": ("--resume --out {made}/run --prompt É", "--prompt has 'É', which the text has not"),
    "damaged": ("--resume --out {made}/damaged", "damaged/checkpoint: is damaged; put a copy in its place, or"),
    "no checkpoint": ("--resume --out {made}/foreign", "foreign/checkpoint: is no checkpoint of this version"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(
    mistake: str, made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, said = MISTAKES[mistake]
    monkeypatch.chdir(made)
    (made / "empty").write_text("")
    (made / "latin").write_bytes("größer".encode("latin-1") * 100)
    (made / "other").write_text(TEXT[::-1])
    for name, data in (("damaged", (made / "run/checkpoint").read_bytes()[:-1]), ("foreign", b"PNG")):
        (made / name).mkdir(exist_ok=True)
        (made / name / "checkpoint").write_bytes(data)
    before = contents(made)
    assert main(shlex.split(arguments.format(made=made))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"jaxrnn: [^\n]*{said}[^\n]*\n", err), err
    assert contents(made) == before


def test_a_diverging_run_stops_before_it_spoils_the_checkpoint(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = ["--learning-rate", "1e38", "--out", f"{tmp_path}/run", "--text", f"{made}/text"]
    assert main([*SMALL, "--steps", "40", *rate]) == 2
    assert re.fullmatch(
        r"jaxrnn: the loss is \w+ at step \d+: .*--learning-rate below 1e\+38\n", capsys.readouterr().err
    )
    saved = checkpoint.load(tmp_path / "run/checkpoint")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved["state"]))


def test_a_full_disk_gets_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        status = main([*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert re.fullmatch(r"jaxrnn: .*checkpoint: cannot be written \(File too large\).*\n", capsys.readouterr().err)
    assert os.listdir(tmp_path / "run") == []


def test_help_names_every_cell_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(cell in out for cell in CELLS)
    assert "(default: lstm)" in out


WITHOUT = """
import runpy, sys
import jaxrnn, jaxrnn.linen, jaxrnn.nnx, jaxrnn.train  # the library needs no more than it asks for
assert not {"matplotlib", "tqdm"} & set(sys.modules)
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))  # names that cannot be imported
runpy.run_module("jaxrnn", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("matplotlib", "matplotlib is not installed"),
        ("tqdm", "tqdm is not installed"),
        ("matplotlib,tqdm", "matplotlib and tqdm are not installed"),
    ],
)
def test_without_its_extra_it_names_the_command_that_brings_it(absent: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, absent, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'jaxrnn: {said}; pip install "jaxrnn[cli]" brings what the command line needs\n'
    assert not (tmp_path / "run").exists()


def test_want_of_memory_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def raises(said: str) -> None:
        def fails(*args: object, **kwargs: object) -> None:
            raise jax.errors.JaxRuntimeError(said)

        monkeypatch.setattr("jaxrnn.__main__.characters", fails)

    raises("RESOURCE_EXHAUSTED: Out of memory allocating 4722650504 bytes.")
    assert main([]) == 2
    assert re.fullmatch(r"jaxrnn: not enough memory; lower --batch, .*\n", capsys.readouterr().err)
    raises("INTERNAL: something else")  # which is a fault of ours, and is shown whole
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        main([])


def test_a_sample_cannot_command_the_terminal() -> None:
    assert report.visible("ẞ\t\x1b[2J\n\x00") == "ẞ\t\ufffd[2J\n\ufffd"
