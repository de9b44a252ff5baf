"""TPU kernels on a CPU, as Pallas interprets them in its context for tests."""

from collections.abc import Callable
from typing import Any

from jax.experimental.pallas import tpu as pltpu


def simulated(run: Callable[..., Any]) -> Callable[..., Any]:
    """Calls `run` in that context, as XLA's operations: a simulation of memories and copies takes far longer."""

    def call(*args: Any) -> Any:
        with pltpu.force_tpu_interpret_mode(True):
            return run(*args)

    return call
