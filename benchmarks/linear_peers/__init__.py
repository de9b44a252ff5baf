"""Public packages that run linear recurrences, and a published pattern that no package holds.

One small file each, with `entrants(problem)`: it converts a problem's arrays to the package's parameters and layout, so
that all compute the same function of the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Program

OURS = "jaxrnn"
PACKAGES = ("recurrentgemma", "memax")


@dataclass(frozen=True, eq=False)
class Entrant:
    """One way to solve a problem.

    Attributes:
      name: as in tables.
      run: `(*args) -> outputs`.
      args: its arrays; the last one is the problem's last one.
      batch_major: whether the sequences have their batch before their time.
      note: what a reader has to know.
    """

    name: str
    run: Callable[..., jax.Array]
    args: tuple[Any, ...]
    batch_major: bool = True
    note: str = ""

    def programs(self, cotangent: np.ndarray) -> dict[str, Program]:
        """The outputs, and the gradients in all arguments."""

        def pull(args: tuple[Any, ...], cotangent: jax.Array) -> Any:
            return jax.vjp(self.run, *args)[1](cotangent)

        args = jax.tree.map(jnp.asarray, self.args)
        given = jnp.asarray(swapped(cotangent) if self.batch_major else cotangent)
        return {"forward": Program(jax.jit(self.run), args), "training": Program(jax.jit(pull), (args, given))}

    def time_major(self, array: Any) -> np.ndarray:
        """An array of sequences in the problem's layout."""
        return swapped(array) if self.batch_major else np.asarray(array)


def swapped(array: Any) -> np.ndarray:
    """Batch before time, or time before batch."""
    return np.ascontiguousarray(np.swapaxes(array, 0, 1))


def installed(skipped: dict[str, str]) -> list[ModuleType]:
    """The modules of all that can take part; notes in `skipped` which package is missing."""
    found = []
    for name in PACKAGES:
        try:
            found.append(import_module(f"benchmarks.linear_peers.{name}"))
        except ModuleNotFoundError as error:
            if str(error.name).startswith("benchmarks"):
                raise
            skipped[name] = f'{error.name} is not installed; pip install -e ".[bench]" brings it'
    return [*found, import_module("benchmarks.linear_peers.s5")]
