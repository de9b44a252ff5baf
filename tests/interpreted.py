"""Kernels for accelerators, run on the CPU as Pallas interprets them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jax.experimental.pallas import tpu

from jaxrnn.recurrence import affine_kernel, matrix_kernel, programs


@contextmanager
def as_on(platform: str) -> Iterator[None]:
    """Gives the CPU the kernels of a platform, as XLA's operations: a simulation of memories takes far longer."""
    linear, matrix = affine_kernel.kernels(), matrix_kernel.kernels()
    with pytest.MonkeyPatch.context() as patch, tpu.force_tpu_interpret_mode(True):
        patch.setitem(programs.KERNELS, "cpu", programs.KERNELS[platform])
        patch.setattr(affine_kernel, "kernels", lambda: {**linear, "cpu": linear[platform]})
        patch.setattr(matrix_kernel, "kernels", lambda: {**matrix, "cpu": matrix[platform]})
        yield


def simulated(run: Callable[..., Any]) -> Callable[..., Any]:
    """Calls `run` with the kernels of a TPU."""

    def call(*args: Any) -> Any:
        with as_on("tpu"):
            return run(*args)

    return call
