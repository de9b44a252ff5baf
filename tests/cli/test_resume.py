"""A run that is killed, stopped and resumed ends as one that nobody disturbed, bit for bit."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint

TEXT = "".join(f"{n} bottles of beer on the wall, {n} bottles of beer.\n" for n in range(99, 0, -1))
STEPS = 3000
SETTINGS = f"--cell lstm --hidden 12 --steps {STEPS} --window 8 --batch 4 --learning-rate 0.01 --seed 5"
TIMES = ("seconds", "characters_per_second")  # all that may differ


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def disturbed(command: list[str], directory: Path, by: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Runs until two more lines of metrics are there, then sends a signal."""
    metrics = directory / "metrics.jsonl"
    count = len(lines(metrics)) + 2
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(lines(metrics)) < count and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(by)
    out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_a_disturbed_run_ends_as_an_undisturbed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text(TEXT)
    settings = [*shlex.split(SETTINGS), "--text", str(tmp_path / "text")]
    whole, parts = tmp_path / "whole", tmp_path / "in parts"

    killed = disturbed([sys.executable, "-m", "jaxrnn", *settings, "--out", str(parts)], parts, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    after_kill = checkpoint.load(parts / "checkpoint")["step"]

    stopped = disturbed([sys.executable, "-m", "jaxrnn", "--resume", "--out", str(parts)], parts, signal.SIGINT)
    assert stopped.returncode == 130
    said, command = stopped.stderr.removesuffix("\n").split("; to go on: ")
    assert said == "jaxrnn: stopped and saved"
    after_stop = checkpoint.load(parts / "checkpoint")["step"]
    assert 0 < after_kill < after_stop < STEPS

    python, m, jaxrnn, *arguments = shlex.split(command)
    assert (python, m, jaxrnn) == ("python", "-m", "jaxrnn")
    assert main(arguments) == 0
    assert main([*settings, "--out", str(whole)]) == 0

    found, expected = (checkpoint.load(directory / "checkpoint") for directory in (parts, whole))
    assert found["step"] == expected["step"] == STEPS
    states = [jax.tree.leaves_with_path(saved["state"]) for saved in (found, expected)]
    assert [(path, leaf.tobytes()) for path, leaf in states[0]] == [(path, leaf.tobytes()) for path, leaf in states[1]]
    records = [
        [{name: value for name, value in line.items() if name not in TIMES} for line in lines(d / "metrics.jsonl")]
        for d in (parts, whole)
    ]
    assert records[0] == records[1]
    assert (parts / "sample.txt").read_text() == (whole / "sample.txt").read_text()
    about, *_, last = records[0]
    assert last["held_out_bits"] < about["n_gram_bits"][0]  # and it has learned something
