"""`--devices`: a batch that is split over devices trains as on one, and what is said where it cannot be split."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import quick
from cli.runs import SMALL, lines
from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint, devices
from jaxrnn.cli.problem import Problem

pytestmark = pytest.mark.usefixtures("kept_programs")

# Trains, and shows where the state lies.
SPLIT = """
import sys, jax, jaxrnn.cli.run
from jaxrnn.__main__ import main
place = jaxrnn.cli.devices.placed
def shown(state, layout):
    placed = place(state, layout)
    for part in (placed.carry, placed.params):
        for leaf in jax.tree.leaves(part)[:1]:
            whole, on_one = leaf.shape[0], leaf.addressable_data(0).shape[0]
            print(whole // on_one, "on", len(leaf.devices()), file=sys.stderr)
    return placed
jaxrnn.cli.devices.placed = shown
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.every
def test_two_devices_train_as_one_does(made: Path, tmp_path: Path) -> None:
    environment = quick.environment("--xla_force_host_platform_device_count=2") | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    flags = [*SMALL, "--text", f"{made}/text", "--out", f"{tmp_path}/run", "--devices", "2"]
    done = subprocess.run(
        [sys.executable, "-c", SPLIT, *flags], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "2 on 2\n1 on 2\n"  # half of the carry lies on each device, and all parameters
    for found, expected in zip(lines(tmp_path / "run")[1:], lines(made / "run")[1:], strict=True):
        for name in ("loss", "held_out_bits"):
            assert found[name] == pytest.approx(expected[name], rel=1e-5)
    states = [checkpoint.load(run / "checkpoint")["state"] for run in (tmp_path / "run", made / "run")]
    for found, expected in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert main(["--resume", "--steps", "8", "--out", f"{tmp_path}/run"]) == 0  # on one device


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            "--devices 0",
            "--devices: '0' is not a whole number from 1 to 1000000, nor 'all'; see python -m jaxrnn --help",
        ),
        ("--devices two", "--devices: 'two' is not a whole number from 1 to 1000000, nor 'all'; see"),
        ("--devices 9", "--devices is 9, but there is 1 here; give at most 1, or all"),
    ],
)
def test_a_wrong_number_gets_one_line(
    flags: str, said: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags.split(), "--text", f"{made}/text", "--out", f"{tmp_path}/run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"jaxrnn: [^\n]*{re.escape(said)}[^\n]*\n", err), err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("batch", "near"), [(5, "4 or 6"), (1, "2")])
def test_a_batch_that_devices_do_not_divide(batch: int, near: str) -> None:
    with pytest.raises(Problem) as caught:
        devices.divided(batch, 2)
    assert str(caught.value) == (
        f"--batch is {batch}, which 2 devices do not divide; give {near}, or another number of --devices"
    )
    devices.divided(6, 2)
