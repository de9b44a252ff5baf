"""The allocator's opt-in says what it did, and does it: in a process of its own, since it cannot be undone."""

import platform
import subprocess
import sys

import jaxrnn
from jaxrnn import allocator

# Counts the page faults of touching a block of 64 MiB once more, before and after.
PROGRAM = """
import resource
import numpy as np
import jaxrnn

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
default = faults()
done = jaxrnn.tune_cpu_allocator()
faults()
print(default, faults(), done)
"""


def test_freed_pages_are_kept() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    default, tuned, said = run.stdout.strip().split(" ", 2)
    glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    assert said.startswith("allocator tuned: ") == glibc
    assert (int(tuned) < int(default) / 10) == glibc


def test_elsewhere_it_changes_nothing(monkeypatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert jaxrnn.tune_cpu_allocator() == "allocator left as it is: no glibc on darwin"
