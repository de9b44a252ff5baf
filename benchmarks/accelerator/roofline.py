"""The least time that a device could need: the work of a job over the peaks that were measured on it.

The work of a forward pass is its matrix products, each input and weight read once, and each output written once. That
of a gradient is three times the products; inputs, weights and the cotangent read, and two gradients written. States
that a gradient keeps between its two passes are not counted, because they could be computed again. The second number of
bytes reads the recurrent kernel from memory in each step, as a device has to that cannot hold it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.accelerator import clock
from benchmarks.accelerator.contenders import ours
from benchmarks.peers import Program
from benchmarks.problems import Case
from benchmarks.results import Row, pick
from benchmarks.timing import round_robin, summary

PEAKS = "peaks"
SIZE, SMALL_SIZE = 8192, 64  # of a product's square matrices
COPIED, SMALL_COPIED = 2**28, 2**16  # float32 numbers


class Work(NamedTuple):
    """FLOP of the products; bytes, once and with the recurrent kernel read again in each step."""

    flop: float
    bytes: float
    bytes_again: float


class Peaks(NamedTuple):
    """What the device has been seen to do in a second."""

    flop: dict[str, float]  # by dtype
    bytes: float

    def milliseconds(self, dtype: str, flop: float, moved: float) -> float:
        """The least time of so many FLOP and bytes, of which the device does the ones while it moves the others."""
        return 1e3 * max(flop / self.flop[dtype], moved / self.bytes)


def work(case: Case) -> dict[str, Work]:
    """What one call does, forward and in training."""
    # As many in every dtype; in float32 all products are JAX's own.
    program = ours(replace(case, dtype="float32"), "scan").forward
    flop = products(jax.make_jaxpr(program.function)(*program.args).jaxpr)  # type: ignore[attr-defined]
    size = jnp.dtype(case.dtype).itemsize
    inputs, outputs = size * case.xs.size, size * case.cotangent.size
    weights = size * sum(array.size for array in case.params.values())
    again = size * (case.shape.T - 1) * case.params["recurrent_kernel"].size if "recurrent_kernel" in case.params else 0
    forward, training = inputs + weights + outputs, 2 * inputs + 2 * weights + outputs
    return {
        "forward": Work(flop, forward, forward + again),
        "training": Work(3 * flop, training, training + 2 * again),
    }


def products(jaxpr: Any) -> float:
    """FLOP of the matrix products in a program, those of a loop's step once a step."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            shape = equation.invars[0].aval.shape
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(map(products, _inside(equation)))
    return total


def _inside(equation: Any) -> Iterator[Any]:
    """The programs in an equation."""
    for value in equation.params.values():
        for inner in value if isinstance(value, tuple) else (value,):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield inner


def measured(dtypes: Sequence[str], repeats: int, *, small: bool) -> list[Row]:
    """Rows of the peaks: a large product of each dtype, and a large array read and written."""
    n, copied = (SMALL_SIZE, SMALL_COPIED) if small else (SIZE, COPIED)
    programs = {f"{dtype} product": _product(n, dtype) for dtype in dtypes}
    programs["copy"] = Program(jax.jit(jnp.negative), (jnp.ones(copied, jnp.float32),))
    samples = round_robin(dict(programs), repeats, PEAKS, clock.turn, again=False)
    rows = [_row(f"{n}×{n} product", dtype, 2.0 * n**3, 0) | summary(samples[f"{dtype} product"]) for dtype in dtypes]
    return [
        *rows,
        _row(f"{8 * copied / 2**20:g} MiB read and written", "copy", 0, 8 * copied) | summary(samples["copy"]),
    ]


def _product(n: int, dtype: str) -> Program:
    a = jax.random.normal(jax.random.key(0), (n, n), dtype)
    return Program(jax.jit(jnp.matmul), (a, a))


def _row(shape: str, contender: str, flop: float, moved: int) -> Row:
    return {"cell": PEAKS, "shape": shape, "what": PEAKS, "contender": contender, "flop": flop, "bytes": moved}


def peaks(rows: list[Row]) -> Peaks | None:
    """The peaks among the rows of a result; None where they were not measured."""
    found = {row["contender"]: row for row in pick(rows, cell=PEAKS)}
    if "copy" not in found:
        return None
    rates = {name: row["flop"] / row["median"] * 1e3 for name, row in found.items() if row["flop"]}
    return Peaks(rates, found["copy"]["bytes"] / found["copy"]["median"] * 1e3)


def bound(row: Row, peaks: Peaks, moved: str = "bytes") -> float:
    """The least milliseconds of what a row is about, whose column `moved` has the bytes."""
    return peaks.milliseconds(row["dtype"], row["flop"], row[moved])
