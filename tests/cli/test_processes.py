"""Runs of two processes, over loopback: they train as one does, one of them writes, and they end together."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import quick
from cli.runs import SMALL, TEXT, lines
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint
from jaxrnn.cli.processes import DIED

pytestmark = pytest.mark.usefixtures("kept_programs")
STEPS = 40

# The command line. The process sends itself a signal after some of its steps, or in none if the number is 0.
DRIVEN = """
import os, sys
import jaxrnn.cli.processes
from cli.test_resume import at
from jaxrnn.__main__ import main
from jaxrnn.cli.report import Bar
step, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))
jaxrnn.cli.processes.PATIENCE = 2 if number else 60
if step:
    Bar.advance = at(step, lambda: os.kill(os.getpid(), number))
jaxrnn.cli.processes.leave(main(sys.argv[1:]))
"""


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def started(flags: list[str], step: int = 0, number: int = 0, **variables: str) -> subprocess.Popen[str]:
    """A process of the command line, which gets the signal `number` after `step` of its steps."""
    environment = quick.environment() | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        **variables,
    }
    command = [sys.executable, "-c", DRIVEN, str(step), str(number), *flags]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """The status, output and errors of each process."""
    outputs = [process.communicate() for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def pair(
    flags: list[str], signalled: tuple[int, ...] = (), step: int = 0, number: int = 0, *, second: tuple[str, ...] = ()
) -> list[tuple[int, str, str]]:
    """Runs two processes: those that are `signalled` get a signal, and process 1 has further flags."""
    together = [*flags, "--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    parts = [[*together, "0"], [*together, "1", *second]]
    return ended([started(part, step if i in signalled else 0, number) for i, part in enumerate(parts)])


@pytest.mark.every
def test_two_processes_that_are_disturbed_end_as_one_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TEXT)
    settings = [*SMALL, "--layers", "1", "--steps", str(STEPS), "--text", f"{tmp_path}/text"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*settings, "--out", str(whole)]) == 0

    lead, follower = pair([*settings, "--out", str(parts)], (1,), 10, signal.SIGINT)
    assert lead[0] == follower[0] == 130
    assert lead[2] == f"jaxrnn: stopped and saved; to go on: python -m jaxrnn --resume --out {parts}\n"
    assert follower[1:] == ("", "jaxrnn: stopped, and process 0 has saved the run\n")
    assert checkpoint.load(parts / "checkpoint")["step"] == 10

    lead, follower = pair(["--resume", "--out", str(parts)], (0,), 15, signal.SIGKILL)
    assert lead[0] == -signal.SIGKILL and follower[0] != 0
    assert lead[2] == follower[2] == f"{DIED}\n"
    assert follower[1] == ""
    assert checkpoint.load(parts / "checkpoint")["step"] in (22, 24)  # of the last record, or of the one before

    assert main(["--resume", "--out", str(parts)]) == 0
    found, expected = (checkpoint.load(run / "checkpoint") for run in (parts, whole))
    for one, other in zip(jax.tree.leaves(found["state"]), jax.tree.leaves(expected["state"]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    for name in ("step", "loss", "held_out_bits"):
        records = [[line[name] for line in lines(run)[1:]] for run in (parts, whole)]
        np.testing.assert_allclose(*records, rtol=1e-5)
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.every
def test_ctrl_c_in_both_processes_saves_the_run(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    lead, follower = pair([*SMALL, "--text", f"{made}/text", "--out", str(run)], (0, 1), 4, signal.SIGINT)
    assert lead[0] == follower[0] == 130
    assert lead[2] == f"jaxrnn: stopped and saved; to go on: python -m jaxrnn --resume --out {run}\n"
    assert follower[1:] == ("", "jaxrnn: stopped, and process 0 has saved the run\n")
    assert checkpoint.load(run / "checkpoint")["step"] == 4


@pytest.mark.every
def test_a_text_that_one_process_cannot_read_ends_both(made: Path, tmp_path: Path) -> None:
    flags = [*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run"]
    lead, follower = pair(flags, second=("--text", f"{tmp_path}/none"))
    said = f"--text {tmp_path}/none: cannot be read (No such file or directory); name a readable UTF-8 text file\n"
    assert lead == (2, "", f"jaxrnn: process 1 of the run has ended: {said}")
    assert follower == (2, "", f"jaxrnn: {said}")
    assert not (tmp_path / "run").exists()


def test_processes_that_disagree_say_in_what(made: Path, tmp_path: Path) -> None:
    """They find each other by what SLURM says."""
    (tmp_path / "other").write_text(TEXT[::-1])
    variables = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    variables |= {"SLURM_LOCALID": "0", "JAX_COORDINATOR_PORT": str(free_port())}
    flags = [*SMALL, "--coordinator", "auto", "--out", f"{tmp_path}/run", "--text"]
    several = [
        started([*flags, f"{made}/text", "--hidden", "9"], SLURM_PROCID="0", **variables),
        started([*flags, f"{tmp_path}/other"], SLURM_PROCID="1", **variables),
    ]
    for (status, out, err), hidden in zip(ended(several), (9, 8), strict=True):
        assert (status, out) == (2, "")
        assert re.fullmatch(
            rf"jaxrnn: the processes of the run differ in --hidden \(here {hidden}\), --text \(here \w+\); "
            r"start all of them with the same\n",
            err,
        ), err
    assert not (tmp_path / "run").exists()


@pytest.mark.every
def test_a_process_that_is_alone_gives_up(made: Path, tmp_path: Path) -> None:
    where = f"127.0.0.1:{free_port()}"
    alone = ["--coordinator", where, "--processes", "2", "--process", "1", "--text", f"{made}/text"]
    status, out, err = ended([started([*alone, "--out", f"{tmp_path}/run"], number=signal.SIGINT)])[0]
    assert status != 0 and out == ""
    assert err == (
        f"jaxrnn: --coordinator {where}: not all processes have come within 2 s; start process 0 there, and the "
        "others, each with its own --process, within that time\n"
    )


# Flags of processes, each with what is said; {port} is in use.
MISTAKES = {
    "process alone": ("--process 0", "--process is 0, but --coordinator is not given; give the HOST:PORT of process 0"),
    "processes alone": ("--processes 2", "--processes is 2, but --coordinator is not given; give the HOST:PORT"),
    "coordinator alone": ("--coordinator h:1", "--coordinator is h:1, but --processes is not given; give it, or"),
    "no number": ("--coordinator h:1 --processes 2", "--coordinator is h:1, but --process is not given; give it, or"),
    "too high": ("--coordinator h:1 --processes 2 --process 2", "--process is 2, expected 0 to 1: it is below"),
    "negative": ("--coordinator h:1 --processes 2 --process -1", "--process: '-1' is not a whole number from 0 to"),
    "none": ("--coordinator h:1 --processes 0 --process 0", "--processes: '0' is not a whole number from 1 to"),
    "no port": ("--coordinator h --processes 2 --process 0", "--coordinator: invalid address value: 'h'; see"),
    "port too high": ("--coordinator h:65536 --processes 2 --process 0", "invalid address value: 'h:65536'; see"),
    "auto, and a number": (
        "--coordinator auto --process 0",
        "--process is 0, but --coordinator auto finds it by itself",
    ),
    "port in use": (
        "--coordinator 127.0.0.1:{port} --processes 2 --process 0",
        "process 0 cannot listen there (Address already in use",
    ),
    "no host": (
        "--coordinator nowhere.invalid:1 --processes 2 --process 1",
        "--coordinator nowhere.invalid:1: the host is not found (",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line(mistake: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags, said = MISTAKES[mistake]
    with socket.create_server(("", 0)) as server:
        flags = flags.format(port=server.getsockname()[1])
        assert main([*flags.split(), "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"jaxrnn: [^\n]*{re.escape(said)}[^\n]*\n", err), err
    assert not (tmp_path / "run").exists()
