"""Kernels for accelerators, run on the CPU as Pallas interprets them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jax.experimental.pallas import tpu

from jaxrnn.recurrence import programs


@contextmanager
def as_on(platform: str) -> Iterator[None]:
    """Gives the CPU the kernels of a platform, as operations of arrays, without its memories."""
    with pytest.MonkeyPatch.context() as patch, tpu.force_tpu_interpret_mode(True):
        patch.setitem(programs.KERNELS, "cpu", programs.KERNELS[platform])
        yield
