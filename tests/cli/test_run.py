"""`python -m jaxrnn` from end to end on a small text, and what it says to input that is wrong."""

import io
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cli.runs import SMALL, TEXT, contents, lines
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, model, report, text
from jaxrnn.cli.folder import OUTPUTS
from jaxrnn.cli.lock import LOCK, locked
from jaxrnn.cli.model import CELLS
from jaxrnn.cli.ngram import witten_bell
from jaxrnn.cli.settings import Settings

pytestmark = pytest.mark.usefixtures("kept_programs")
Capture = pytest.CaptureFixture[str]


def test_it_leaves_what_it_promises(made: Path) -> None:
    assert sorted(path.name for path in (made / "run").iterdir()) == sorted(OUTPUTS)
    about, *records = lines(made / "run")
    assert about["characters"] == len(TEXT)
    assert about["held_out"] == len(TEXT) // 10
    assert len(about["n_gram_bits"]) == 5
    assert about["settings"]["hidden"] == 8
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["characters"] == 6 * 4 * 5
    assert records[-1]["bits"] == report.bits(records[-1]["loss"])
    assert (made / "run/loss.png").read_bytes().startswith(b"\x89PNG")
    assert set((made / "run/sample.txt").read_text()) <= set(TEXT)


def test_a_finished_run_can_be_asked_to_write(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    before = contents(run)
    assert main(["--resume", "--out", str(run), "--prompt", "lazy fox"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no bar without a terminal
    assert "resumed at step 6" in out
    assert re.search(r"5-gram +\d\.\d{3}\n +elman +\d\.\d{3} +\d\.\d{3} (above|below) the best n-gram", out)
    sample = (run / "sample.txt").read_text()
    assert sample.startswith("lazy fox") and sample.strip() in out
    after = contents(run)
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed <= {"sample.txt", "checkpoint", "best"}


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
    "dropout of all": ("--dropout 1", "--dropout: '1' is not a number from 0 to below 1"),
    "schedule unknown": ("--schedule steps", r"--schedule: invalid choice: 'steps' \(choose from .*cosine"),
    "valid missing": ("--valid {made}/none", r"--valid .*none: cannot be read \(No such file or directory\); name a"),
    "valid empty": ("--text {made}/text --valid {made}/empty", "--valid .*empty: has 0 characters, expected 100 or"),
    "command unknown": ("smaple", "unrecognized arguments: smaple; see python -m jaxrnn --help"),
    "prompt unknown": ("--text {made}/text --prompt Ünder", "--prompt has 'Ü', which the text has not; use its own"),
    "directory taken": (
        "--text {made}/text --out {made}/run",
        "holds checkpoint, .* go on with that one with --resume",
    ),
    "directory a file": ("--text {made}/text --out {made}/text", r"cannot be made \(File exists\); name a directory"),
    "directory in a file": ("--text {made}/text --out {made}/text/x", r"cannot be made \(Not a directory\)"),
    "nothing to resume": ("--resume --out {made}/none", "none/checkpoint: cannot be read .* without --resume begins"),
    "directory too long": (f"--out {'a' * 300}", r"cannot be made \(File name too long\); name a directory"),
    "too long to resume": (f"--resume --out {'a' * 300}", r"a/checkpoint: cannot be read \(no such directory\)"),
    "no run to resume": ("--resume --out {made}", "made.*/checkpoint: cannot be read .* without --resume begins one"),
    "fewer steps": ("--resume --out {made}/run --steps 5", "--steps is 5, but .* begun with 6; .* give more steps"),
    "other schedule": ("--resume --out {made}/run --schedule linear", "--schedule is linear, but .* with cosine; drop"),
    "other dropout": ("--resume --out {made}/run --dropout 0.5", "--dropout is 0.5, but .* with its default; drop"),
    "valid on resuming": (
        "--resume --out {made}/run --valid {made}/text",
        "holds out the last tenth of its text; drop",
    ),
    "sample without a run": ("sample --out {made}/none", "none/checkpoint: cannot be read .*; name the directory of a"),
    "sample of a directory": (
        "sample --out {made}",
        r"/checkpoint: cannot be read \(No such file or directory\); name",
    ),
    "sample of a file": ("sample --out {made}/text", r"text/checkpoint: cannot be read \(Not a directory\); name the"),
    "sample without a best": ("sample --out {made}/damaged --best", "damaged/best: cannot be read"),
    "sample of damage": ("sample --out {made}/damaged", "damaged/checkpoint: is damaged; put a copy in its place, or"),
    "sample of another": ("sample --out {made}/foreign", "foreign/checkpoint: is no checkpoint of this version"),
    "sample prompt unknown": ("sample --out {made}/run --prompt É", "--prompt has 'É', which the text has not"),
    "sample nothing": ("sample --length 0", "--length: '0' is not a whole .*; see python -m jaxrnn sample --help"),
    "sample cold": ("sample --temperature -1", "--temperature: '-1' is not 0 or a number from 0.01 to 100"),
    "sample nearly cold": ("sample --temperature 1e-50", "--temperature: '1e-50' is not 0 or a number from 0.01 to"),
    "sample hot": ("sample --temperature nan", "--temperature: 'nan' is not 0 or a number from 0.01 to 100"),
    "sample top-p zero": ("sample --top-p 0", "--top-p: '0' is not a number above 0 and up to 1"),
    "sample top-p above": ("sample --top-p 1.5", "--top-p: '1.5' is not a number above 0 and up to 1"),
    "sample top-k zero": ("sample --top-k 0", "--top-k: '0' is not a whole number from 1 to"),
    "sample seed negative": ("sample --seed -1", "--seed: '-1' is not a whole number from 0 to"),
    "sample with steps": ("sample --steps 3", "unrecognized arguments: --steps 3; see python -m jaxrnn sample --help"),
    "eval without a run": ("eval --out {made}/none", "none/checkpoint: cannot be read .*; name the directory of a"),
    "eval text missing": ("eval --out {made}/run --text {made}/none", r"--text .*none: cannot be read"),
    "eval text unknown": ("eval --out {made}/run --text {made}/foreign/checkpoint", "has 0 characters that the model"),
    "eval damaged": ("eval --out {made}/damaged", "damaged/checkpoint: is damaged; put a copy in its place, or"),
    "other settings": ("--resume --out {made}/run --hidden 9", "--hidden is 9, but .* begun with 8; drop --hidden, or"),
    "other text": ("--resume --out {made}/run --text {made}/other", "was trained on another text than .*other; name"),
    "prompt on resuming": ("--resume --out {made}/run --prompt É", "--prompt has 'É', which the text has not"),
    "damaged": ("--resume --out {made}/damaged", "damaged/checkpoint: is damaged; put a copy in its place, or"),
    "no checkpoint": ("--resume --out {made}/foreign", "foreign/checkpoint: is no checkpoint of this version"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(
    mistake: str, made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, said = MISTAKES[mistake]
    made = shutil.copytree(made, tmp_path / "made")
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


@pytest.mark.every
def test_a_diverging_run_stops_before_it_spoils_the_checkpoint(made: Path, tmp_path: Path, capsys: Capture) -> None:
    """Whether it fails in a step or when it is scored, and what is kept can write."""
    # The outputs stay below a third of the largest float, whatever the rounding; the sum of the losses does not.
    for steps, said, power in (("40", "the held-out loss is inf after step 2", 38), ("100", "step 3", 37)):
        out = tmp_path / steps
        rate = ["--learning-rate", "3e37", "--out", str(out), "--text", f"{made}/text"]
        assert main([*SMALL, "--steps", steps, *rate]) == 2
        err = capsys.readouterr().err
        assert re.fullmatch(
            rf"jaxrnn: {said} of training[^\n]*: [^\n]*the loss is inf; the outputs are finite, up to \S+e\+{power}; "
            r"begin a new run with another --out and a --learning-rate below 3e\+37; the checkpoint of step 0 is kept, "
            r"and sample and eval read it\n",
            err,
        ), err
        saved = checkpoint.load(out / "checkpoint")
        assert saved["step"] == 0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved["state"]))
        assert main(["sample", "--length", "3", "--out", str(out)]) == 0
        assert capsys.readouterr().err == ""


def test_a_learning_rate_of_1000_gets_a_sentence(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = ["--learning-rate", "1000", "--steps", "8", "--out", f"{tmp_path}/run", "--text", f"{made}/text"]
    assert main([*SMALL, *run]) == 0
    said = (
        "training diverges: this is far worse than chance, 4.807 bits/char; "  # of 28 characters
        "begin a new run with another --out and a --learning-rate below 1000"
    )
    out = capsys.readouterr().out
    during, after = out.split("held-out bits per character")
    assert during.count(said) == after.count(said) == 1  # when it is first seen, and in the end
    assert "trains it further" not in out


def test_overfitting_is_no_divergence_and_what_is_no_better_than_chance_is_called_so() -> None:
    about = {"vocabulary": 16, "settings": {"cell": "gru", "learning_rate": 0.5}, "n_gram_bits": [3.0, 2.0]}

    def verdict(bits: float, held_out: float) -> str:
        record = {"step": 5, "seconds": 1.0, "bits": bits, "held_out_bits": held_out}
        return report.table(about, [record]).split("best n-gram")[1]

    assert verdict(1.0, 9.0) == (
        "\nno better than chance, 4.000: --resume with more --steps trains it further, or begin a new run with another "
        "--out and a --learning-rate other than 0.5"
    )
    assert verdict(8.1, 9.0).startswith("\ntraining diverges: this is far worse than chance, 4.000 bits/char; begin")
    assert verdict(3.9, 3.9) == "\n--resume with more --steps trains it further"
    assert verdict(1.9, 1.9) == ""


def test_a_full_disk_gets_one_line(made: Path, tmp_path: Path, capsys: Capture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        status = main([*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert re.fullmatch(r"jaxrnn: .*checkpoint: cannot be written \(File too large\).*\n", capsys.readouterr().err)
    assert os.listdir(tmp_path / "run") == []


def test_a_second_process_is_kept_out(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    before = contents(run)
    with locked(run):
        for flags in (["--resume"], ["--text", f"{made}/text", *SMALL], ["--resume", "--steps", "9"]):
            assert main([*flags, "--out", str(run)]) == 2
            out, err = capsys.readouterr()
            assert re.fullmatch(r"jaxrnn: --out \S+run: another process trains the run there; [^\n]*\n", err), err
            assert out == ""
        assert main(["sample", "--out", str(run), "--length", "3"]) == 0  # whoever reads may come in
    assert contents(run) == before
    (run / LOCK).write_text("")  # as a process that was killed leaves it
    with locked(run):
        pass
    assert contents(run) == before


def test_a_directory_that_cannot_be_locked_gets_one_line(
    made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    assert main([*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 2
    assert re.fullmatch(r"jaxrnn: --out \S+run: cannot be locked \(.*\); name a .*\n", capsys.readouterr().err)


@pytest.mark.every
def test_a_run_may_be_resumed_from_another_directory(
    made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    (tmp_path / "text").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--steps", "1", "--text", "text", "--out", "begun"]) == 0
    assert lines(tmp_path / "begun")[0]["text"] == "text"
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert main(["--resume", "--steps", "2", "--out", "../begun"]) == 0
    assert lines(tmp_path / "begun")[-1]["step"] == 2
    assert main(["--resume", "--text", "../text", "--out", str(run)]) == 0  # and with a text that has moved
    assert checkpoint.load(run / "checkpoint")["source"] == f"{tmp_path}/text"


@pytest.mark.every
def test_another_text_is_held_out(tmp_path: Path, capsys: Capture) -> None:
    held_out = "over the lazy dog, the brown fox\n" * 5
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "valid").write_text(held_out)
    texts = ["--text", f"{tmp_path}/text", "--valid", f"{tmp_path}/valid"]
    assert main([*SMALL, "--steps", "2", *texts, "--out", f"{tmp_path}/run"]) == 0
    out = capsys.readouterr().out
    assert f"text      {tmp_path}/text: 1,760 characters, 29 different\n" in out
    assert f"held out  {tmp_path}/valid: 165 characters\n" in out
    about, *_, last = lines(tmp_path / "run")
    assert last["held_out_characters"] == len(held_out)
    ids = text.corpus(text.Given("", TEXT), text.Given("", held_out)).ids
    assert about["n_gram_bits"] == witten_bell(ids, len(TEXT), 29)
    assert main(["--resume", "--out", f"{tmp_path}/run"]) == 0
    assert main(["--resume", *texts[:3], f"{tmp_path}/text", "--out", f"{tmp_path}/run"]) == 2  # another one now
    assert "was trained on another text than" in capsys.readouterr().err
    assert main(["eval", "--out", f"{tmp_path}/run"]) == 0
    assert f"text      {tmp_path}/valid\n" in capsys.readouterr().out
    assert main(["eval", "--text", f"{tmp_path}/text", "--out", f"{tmp_path}/run"]) == 2
    assert "is what the model has learned from; name another text" in capsys.readouterr().err


def test_n_grams_and_the_model_are_scored_on_the_same_characters(
    made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "SCORED", 50)
    monkeypatch.setattr(report, "SCORED", 50)
    assert main([*SMALL, "--steps", "2", "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 0
    assert "held out  the last 176 characters, of which the first 50 are scored\n" in capsys.readouterr().out
    about, *records = lines(tmp_path / "run")
    assert [record["held_out_characters"] for record in records] == [50, 50]
    corpus = text.read(f"{made}/text")
    assert about["n_gram_bits"] == witten_bell(corpus.ids[: corpus.split + 50], corpus.split, corpus.size)
    assert about["n_gram_bits"] != witten_bell(corpus.ids, corpus.split, corpus.size)


def test_the_best_checkpoint_is_kept(
    made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([3.0, 1.0, 2.0, 1.0])
    monkeypatch.setattr(model, "evaluator", lambda layer: lambda params, ids: next(figures))
    assert main([*SMALL, "--steps", "4", "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 0
    assert "the best was 1.000 after 2 steps, which is kept, too" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "run/best")["step"] == 2
    assert checkpoint.load(tmp_path / "run/checkpoint")["step"] == 4


def test_the_time_left_leaves_compilation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred steps of one second, the first one compiles for a minute."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: clock)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with report.Bar(Settings(steps=100, window=1, batch=1), 0) as bar:
        for seconds in (60, 1, 1):
            clock += seconds
            bar.advance(1.0)
        shown = sys.stderr.getvalue().split("\r")[-1]
    assert "  3%|" in shown and "00:02, 01:37 left, 1.00 chars/s" in shown


def test_help_names_every_cell_and_default(capsys: Capture) -> None:
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


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("filelock", "filelock is not installed"),
        ("matplotlib,tqdm", "matplotlib and tqdm are not installed"),
    ],
)
def test_without_its_extra_it_names_the_command_that_brings_it(absent: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, absent, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'jaxrnn: {said}; pip install "jaxrnn[cli]" brings what the command line needs\n'
    assert not (tmp_path / "run").exists()


@pytest.mark.every
def test_a_sample_needs_no_extra(made: Path) -> None:
    absent = "matplotlib,tqdm,filelock"
    command = [sys.executable, "-c", WITHOUT, absent, "sample", "--out", f"{made}/run", "--length", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) == 6


def test_want_of_memory_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def raises(said: str) -> None:
        def fails(*args: object, **kwargs: object) -> None:
            raise jax.errors.JaxRuntimeError(said)

        monkeypatch.setattr("jaxrnn.cli.training.Run", fails)

    raises("RESOURCE_EXHAUSTED: Out of memory allocating 4722650504 bytes.")
    assert main([]) == 2
    assert re.fullmatch(r"jaxrnn: not enough memory; lower --batch, .*\n", capsys.readouterr().err)
    raises("INTERNAL: something else")  # which is a fault of ours, and is shown whole
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        main([])


def test_a_sample_cannot_command_the_terminal() -> None:
    assert report.visible("ẞ\t\x1b[2J\n\x00") == "ẞ\t\ufffd[2J\n\ufffd"
