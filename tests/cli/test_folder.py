"""`--keep`: older checkpoints, one of which takes the place of a newest one that is damaged; and who writes them."""

import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.runs import SMALL, lines
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, folder, report
from jaxrnn.cli.background import background
from jaxrnn.cli.problem import Problem

pytestmark = pytest.mark.usefixtures("kept_programs")
Capture = pytest.CaptureFixture[str]


def without_links(*args: Any) -> None:
    raise PermissionError(1, os.strerror(1))


@pytest.mark.sampled
@pytest.mark.parametrize("link", [os.link, without_links])
def test_a_damaged_checkpoint_gives_way_to_an_older_one(
    link: Callable[..., None], made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", link)
    run = tmp_path / "run"
    assert main([*SMALL, "--text", f"{made}/text", "--keep", "3", "--out", str(run)]) == 0
    assert [*folder.older(run)] == [5, 4]
    assert [checkpoint.load(path)["step"] for path in folder.older(run).values()] == [5, 4]
    (run / ".checkpoint.123.part").write_text("what a process that was killed has left")
    for name in ("checkpoint", "checkpoint-5"):
        (run / name).write_bytes((run / name).read_bytes()[:-1])
    capsys.readouterr()
    assert main(["--resume", "--out", str(run)]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"jaxrnn: \S+/checkpoint: is damaged; checkpoint-4, of step 4, takes its place\n", err)
    assert "resumed at step 4" in out
    assert lines(run)[-1]["held_out_bits"] == lines(made / "run")[-1]["held_out_bits"]
    assert not [*run.glob(".*")]


def test_if_all_are_damaged_it_is_about_the_newest(made: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    for name in ("checkpoint", "checkpoint-5"):
        (run / name).write_bytes((made / "run/checkpoint").read_bytes()[:-1])
    assert main(["--resume", "--out", str(run)]) == 2
    assert re.fullmatch(r"jaxrnn: \S+/checkpoint: is damaged; put a copy in its place, .*\n", capsys.readouterr().err)


def test_an_older_checkpoint_alone_keeps_a_new_run_out(made: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint-3").touch()
    assert main([*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 2
    assert "holds checkpoint-3 of an earlier run; go on with that one with --resume" in capsys.readouterr().err


def test_training_goes_on_while_a_checkpoint_is_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second step is made before the checkpoint of the first one is, which waits for it."""
    save, advance, later, saved = folder.save, report.Bar.advance, threading.Event(), []

    def waits(directory: Path, values: dict[str, Any], **options: Any) -> None:
        if values["step"] == 1:
            assert later.wait(60)
        save(directory, values, **options)
        saved.append(values["step"])

    def advanced(bar: report.Bar, loss: float) -> None:
        advance(bar, loss)
        if len(losses) == 1:
            later.set()
        losses.append(loss)

    losses: list[float] = []
    monkeypatch.setattr(folder, "save", waits)
    monkeypatch.setattr(report.Bar, "advance", advanced)
    assert main([*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 0
    assert saved == [0, 1, 2, 3, 4, 5, 6, 6]
    assert checkpoint.load(tmp_path / "run/checkpoint")["metrics"] == (tmp_path / "run/metrics.jsonl").read_text()


def test_a_checkpoint_that_cannot_be_written_ends_the_run(
    made: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = folder.save

    def full(directory: Path, values: dict[str, Any], **options: Any) -> None:
        if values["step"] == 2:
            raise Problem("no space")
        save(directory, values, **options)

    monkeypatch.setattr(folder, "save", full)
    assert main([*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 2
    assert capsys.readouterr().err == "jaxrnn: no space\n"
    assert checkpoint.load(tmp_path / "run/checkpoint")["step"] == 1


def test_the_last_act_ends_before_the_block_and_its_error_is_raised() -> None:
    done: list[int] = []

    def fails() -> None:
        raise Problem("failed")

    with pytest.raises(Problem, match="failed"), background() as do:
        do(lambda: done.append(1))
        do(fails)
    with pytest.raises(KeyError), background() as do:
        do(lambda: done.append(2))
        raise KeyError
    assert done == [1, 2]
