"""Batches on two devices: under `shard_map`, with and without `check_vma`, under `jit` without an all-gather, and in
explicit mode."""

import subprocess
import sys
from pathlib import Path

import pytest

import quick


@pytest.mark.every
def test_a_batch_on_two_devices_equals_one_device() -> None:
    program = Path(__file__).with_name("sharded_program.py")
    environment = quick.environment("--xla_force_host_platform_device_count=2") | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "done"
    assert len([line for line in lines if line.startswith("shard_map")]) == 12
    assert len([line for line in lines if line.startswith("explicit")]) == 6
    assert len([line for line in lines if line.startswith("layer")]) == 2
