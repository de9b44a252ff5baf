"""A run that is killed, stopped, resumed and extended ends as one that nobody disturbed, bit for bit."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from cli.runs import lines
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, folder, report
from jaxrnn.cli.lock import LOCK

pytestmark = pytest.mark.usefixtures("kept_programs")
TEXT = "".join(f"{n} bottles of beer on the wall, {n} bottles of beer.\n" for n in range(99, 0, -1))
STEPS = 60
SETTINGS = "--cell gru --hidden 8 --window 8 --batch 4 --learning-rate 0.01 --schedule constant --seed 5"
TIMES = ("seconds", "characters_per_second")  # all that may differ


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text(TEXT)
    return [*shlex.split(SETTINGS), "--text", str(path)]


@pytest.fixture(scope="module")
def whole(settings: list[str], tmp_path_factory: pytest.TempPathFactory, kept_programs: None) -> Path:
    """A run that nobody disturbs."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert main([*settings, "--steps", str(STEPS), "--out", str(directory)]) == 0
    return directory


def at(step: int, act: Callable[[], None]) -> Callable[[report.Bar, float], None]:
    """`Bar.advance`, which acts when it has been called this often."""
    advance, calls = report.Bar.advance, 0

    def advanced(bar: report.Bar, loss: float) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            act()
        advance(bar, loss)

    return advanced


def state(run: Path) -> list[tuple[Any, bytes]]:
    leaves = jax.tree.leaves_with_path(checkpoint.load(run / "checkpoint")["state"])
    return [(path, leaf.tobytes()) for path, leaf in leaves]


# Trains in a process of its own, which the system kills without warning, between two records.
KILLED = """
import os, signal, sys
from cli.test_resume import at
from jaxrnn.__main__ import main
from jaxrnn.cli.report import Bar
Bar.advance = at(25, lambda: os.kill(os.getpid(), signal.SIGKILL))
main(sys.argv[1:])
"""


@pytest.mark.sampled
@pytest.mark.usefixtures("hang_up")
def test_a_disturbed_run_ends_as_an_undisturbed_one(
    settings: list[str],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = tmp_path / "in parts"
    compiled = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
    }
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *settings, "--steps", str(STEPS), "--out", str(parts)],
        env={**os.environ, "PYTHONPATH": paths, **compiled},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    step = checkpoint.load(parts / "checkpoint")["step"]
    assert step in (21, 24)  # the last record may not have been written yet
    assert lines(parts)[-1].get("step") in (step - 3, step)
    assert (parts / LOCK).exists()  # it keeps nobody out
    capsys.readouterr()

    with monkeypatch.context() as patched:
        patched.setattr(report.Bar, "advance", at(44 - step, lambda: os.kill(os.getpid(), signal.SIGHUP)))
        assert main(["--resume", "--out", str(parts)]) == 130
    said, command = capsys.readouterr().err.removesuffix("\n").split("; to go on: ")
    assert said == "jaxrnn: stopped and saved"
    assert checkpoint.load(parts / "checkpoint")["step"] == 44 and lines(parts)[-1]["step"] == 42

    python, m, jaxrnn, *arguments = shlex.split(command)
    assert (python, m, jaxrnn) == ("python", "-m", "jaxrnn")
    assert main(arguments) == 0

    assert state(parts) == state(whole)
    records = [
        [{name: value for name, value in line.items() if name not in TIMES} for line in lines(run)]
        for run in (parts, whole)
    ]
    assert records[0] == records[1]
    assert (parts / "sample.txt").read_text() == (whole / "sample.txt").read_text()
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in whole.iterdir())
    about, *_, last = records[0]
    assert last["step"] == STEPS
    assert last["held_out_bits"] < about["n_gram_bits"][0]  # and it has learned something


@pytest.mark.every
def test_an_extended_run_ends_as_one_that_was_longer_from_the_beginning(
    settings: list[str], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a constant learning rate, which does not depend on the number of steps."""
    assert main([*settings, "--steps", "20", "--out", f"{tmp_path}/run"]) == 0
    assert main(["--resume", "--steps", str(STEPS), "--out", f"{tmp_path}/run"]) == 0
    assert "resumed at step 20" in capsys.readouterr().out
    assert state(tmp_path / "run") == state(whole)
    assert lines(tmp_path / "run")[-1]["held_out_bits"] == lines(whole)[-1]["held_out_bits"]
    assert lines(tmp_path / "run")[0] == lines(whole)[0]
    assert (tmp_path / "run/sample.txt").read_text() == (whole / "sample.txt").read_text()


# Trains in a process that is killed: some time after its first step, or when it is about to write, link, or rename.
KILLS = """
import os, random, signal, sys, threading
from cli.test_resume import at
from jaxrnn.__main__ import main
from jaxrnn.cli import report
chance = random.Random(int(sys.argv[1]))
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def dying(function, calls, last):
    def called(*args, **kwargs):
        calls.append(function)
        if len(calls) == last:
            die()
        return function(*args, **kwargs)
    return called
if chance.random() < 0.5:
    report.Bar.advance = at(1, threading.Timer(chance.uniform(0, 0.2), die).start)
else:
    calls, last = [], chance.randrange(8, 40)
    for name in ("fsync", "link", "replace", "unlink"):
        setattr(os, name, dying(getattr(os, name), calls, last))
main(sys.argv[2:])
"""


@pytest.mark.every
def test_kills_at_random_moments_lose_a_record_at_most(settings: list[str], whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {
        **os.environ,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    flags, before = [*settings, "--steps", str(STEPS)], 0
    for seed in range(4):
        command = [sys.executable, "-c", KILLS, str(seed), *flags, "--keep", "3", "--out", str(run)]
        killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        shown = [int(step) for step in re.findall(r"^step +(\d+)/", killed.stdout, re.MULTILINE)]
        newest = checkpoint.load(run / "checkpoint")["step"]
        assert newest >= max([before, *shown[:-1]])  # the last line that was shown may not have been written yet
        older = folder.older(run)
        assert len(older) <= 3
        assert [checkpoint.load(path)["step"] for path in older.values()] == [*older]
        flags, before = ["--resume"], newest
    assert main(["--resume", "--keep", "3", "--out", str(run)]) == 0
    assert state(run) == state(whole)
    names = {path.name for path in run.iterdir()} - {path.name for path in whole.iterdir()}
    assert names <= {f"checkpoint-{step}" for step in folder.older(run)}  # and nothing half-written
