"""The contenders: jaxrnn, its peers, and the matrix products alone.

One small file each, with one function, `contender(case)`: it converts the case's weights to the peer's parameters and
the data to the layout that suits the peer best, so that all compute the same function of the same numbers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems import Case

JAX_PEERS = ("flax_linen", "flax_nnx", "haiku", "equinox", "keras")
PEERS = (*JAX_PEERS, "torch")
Kind = Literal["ours", "jax", "torch", "floor"]


class NotOffered(Exception):
    """A peer cannot take part in a case, and why."""


@dataclass(frozen=True, eq=False)
class Program:
    """A jitted function with its arguments; a call returns finished results."""

    function: Any
    args: tuple[Any, ...]

    def launch(self) -> Any:
        """Results that the device may not have finished yet."""
        return self.function(*self.args)

    def __call__(self) -> Any:
        return jax.block_until_ready(self.launch())

    def temporary_bytes(self) -> int:
        """What the compiled program allocates besides arguments and results."""
        return int(self.function.lower(*self.args).compile().memory_analysis().temp_size_in_bytes)


@dataclass(frozen=True, eq=False)
class Contender:
    """One way to run a case.

    Attributes:
      name: as in tables.
      kind: whether it is ours, a JAX peer, PyTorch, or a bound.
      forward: runs and returns finished outputs, in the contender's layout.
      training: runs and returns finished `(gradients of parameters, gradient of inputs)`.
      time_major: turns an array of the contender's layout into a NumPy array `[T, B, …]`.
      computes: the cell whose function this is; the case's own unless the peer's differs.
      note: what a reader has to know.
    """

    name: str
    kind: Kind
    forward: Callable[[], Any]
    training: Callable[[], Any]
    time_major: Callable[[Any], np.ndarray]
    computes: str
    note: str = ""

    def call(self, what: str) -> Callable[[], Any]:
        """`forward` or `training`, by name."""
        return {"forward": self.forward, "training": self.training}[what]

    def program(self, what: str) -> Program | None:
        """The same as a jitted function with its arguments; None where it is nothing of that kind."""
        call = self.call(what)
        return call if isinstance(call, Program) else None


def of_jax(
    name: str,
    apply: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    case: Case,
    *,
    kind: Kind = "jax",
    batch_major: bool = False,
    computes: str = "",
    note: str = "",
) -> Contender:
    """A contender from `apply(params, xs) -> ys`, both time-major or both batch-major."""

    def time_major(array: Any) -> np.ndarray:
        return np.asarray(array.swapaxes(0, 1) if batch_major else array, np.float32)

    def pull(params: Any, xs: jax.Array, cotangent: jax.Array) -> Any:
        ys, transpose = jax.vjp(apply, params, xs)
        return transpose(cotangent.astype(ys.dtype))

    data = (np.ascontiguousarray(a.swapaxes(0, 1)) if batch_major else a for a in (case.xs, case.cotangent))
    xs, cotangent = (jnp.asarray(a, case.dtype) for a in data)
    params = jax.tree.map(jnp.asarray, params)
    forward, training = Program(jax.jit(apply), (params, xs)), Program(jax.jit(pull), (params, xs, cotangent))
    return Contender(name, kind, forward, training, time_major, computes or case.cell, note)


class Field:
    """The contenders that are installed, with their `modules`; remembers who does not take part, and why."""

    def __init__(self, names: Iterable[str]) -> None:
        self.skipped: dict[str, str] = {}
        self.modules: dict[str, Any] = {}
        for name in names:
            try:
                self.modules[name] = import_module(f"benchmarks.peers.{name}")
            except ModuleNotFoundError as error:
                if str(error.name).startswith("benchmarks"):
                    raise
                self.skipped[name] = f'{error.name} is not installed; pip install -e ".[bench]" brings it'

    def contenders(self, case: Case) -> list[Contender]:
        """Those that take part in `case`."""
        return [found for name in self.modules for found in self.made(name, case, lambda peer: peer.contender(case))]

    def made(self, name: str, case: Case, make: Callable[[Any], Contender]) -> list[Contender]:
        """What `make` makes of a peer's module; nothing if the peer is not installed or takes no part in `case`."""
        if name not in self.modules:
            return []
        try:
            return [make(self.modules[name])]
        except NotOffered as why:
            self.skip(name, case, str(why))
            return []

    def skip(self, name: str, case: Case, why: str) -> None:
        """Notes that a contender takes no part in a case."""
        self.skipped[f"{name}, {case.cell}, {case.dtype}"] = why

    def only(self, names: set[str]) -> "Field":
        """The same without the others; what it skips is noted here too."""
        some = Field(())
        some.skipped, some.modules = self.skipped, {name: m for name, m in self.modules.items() if name in names}
        return some
