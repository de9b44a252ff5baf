"""Whatever a reader of the figures has to know about where they come from."""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    "jaxrnn",
    "jax",
    "jaxlib",
    "flax",
    "dm-haiku",
    "equinox",
    "keras",
    "torch",
    "recurrentgemma",
    "memax",
    "torchrecurrent",
    "flashrnn",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "numpy",
)
SETTINGS = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "JAX_", "XLA_", "NVIDIA_TF32_", "OMP_", "MKL_", "NPROC", "KMP_")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """Whatever a reader of the figures has to know about where they come from."""
    processor, units = _processor()
    torch = sys.modules.get("torch")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": {name: value for name, value in vars(args).items() if name != "out"},
        "revision": _revision(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "processor": processor,
        "vector_units": units,
        "cores": cores(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "driver": _driver(),
        "torch_threads": torch.get_num_threads() if torch else None,
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)},
    }


def machine(env: dict[str, Any]) -> str:
    """The kind of machine in a few words."""
    accelerators = sorted({device.split(": ")[1] for device in env["devices"]} - {"cpu"})
    return ", ".join([*accelerators, env["processor"], f"{env['cores']} cores"])


def _revision() -> str | None:
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> tuple[str, list[str]]:
    """Its model, and which of the wide vector units it has that decide about products."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine(), []
    first = info.read_text().split("\n\n", 1)[0]
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    flags = fields.get("flags", "").split()
    units: list[str] = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if unit in flags]
    return fields.get("model name", platform.machine()), units


class Bystanders:
    """How many cores other programs keep busy from now on."""

    def __init__(self) -> None:
        self._start = self._reading()

    def cores(self) -> float:
        """The mean since the start; 0 where nothing tells."""
        now = self._reading()
        return max(0.0, (now[1] - self._start[1]) / (now[0] - self._start[0]))

    @staticmethod
    def _reading() -> tuple[float, float]:
        """Seconds of the clock, and of all cores together that went to other programs."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return time.perf_counter(), 0.0
        ticks = [int(n) for n in stat.read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]  # neither idle nor waiting for a disk
        own = sum(os.times()[:4])  # also of processes that this one started, once they have ended
        return time.perf_counter(), busy / os.sysconf("SC_CLK_TCK") - own
