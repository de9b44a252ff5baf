"""Runs the programs of `fused.py` on one chunk of steps at a time, so that only one chunk's gates exist at once.

With `remat="carries"` the forward pass stores the carries; the backward pass recomputes a chunk's gates from them in
one large product. A forward pass that stores nothing uses chunks where all gates together exceed the CPU's cache.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.precision import accumulator
from jaxrnn.recurrence import fused
from jaxrnn.recurrence.fused import Operands, Saved, Steps
from jaxrnn.recurrence.gates import Spec
from jaxrnn.recurrence.loop import segmented
from jaxrnn.sharding import vary, varying
from jaxrnn.sizes import at_least, is_known
from jaxrnn.types import Array, Carry

ROWS = 1024  # rows of a chunk's products: enough for full speed, few enough that its gates stay in the cache

# From this many bytes of all gates on chunks are no slower: they take 0.7 to 1.0 of the time at the benchmarks' medium
# and large, and 1.0 to 1.15 at their small.
LARGE = 12 * 2**20


def are_faster(spec: Spec, operands: Operands) -> bool:
    """Returns whether the forward pass on the CPU is faster in chunks."""
    rows = math.prod(operands.xs.shape[:-1])
    return at_least(rows * math.prod(operands.weights.kernel.shape[1:]) * spec.dtype.itemsize, LARGE)


def _length(xs: Array) -> int:
    """Returns the steps per chunk: about `ROWS` rows, and at least four chunks; an unknown size sets no limit."""
    total, rows = xs.shape[0], math.prod(xs.shape[1:-1])
    by_rows = -(-ROWS // max(1, rows)) if is_known(rows) else ROWS
    return max(1, min(by_rows, -(-total // 4)) if is_known(total) else by_rows)


def forward(
    program: Callable[..., Any], spec: Spec, operands: Operands, steps: Steps, *, save: bool
) -> tuple[Carry, Array, Saved | None]:
    """Runs `program`, as `fused.forward`, with a `saved` of carries alone."""

    def run(carry: Carry, chunk: tuple[Array, Steps]) -> tuple[Carry, tuple[Array, Saved | None]]:
        part = operands._replace(xs=chunk[0], carry=carry)
        carry, ys, saved = program(spec, part, chunk[1], save=save)
        return carry, (ys, None if saved is None else saved._replace(gates=None))

    length = _length(operands.xs)
    carry, (ys, saved) = segmented(run, operands.carry, (operands.xs, steps), length)
    return carry, ys, saved


def backward(
    program: Callable[..., Operands],
    spec: Spec,
    operands: Operands,
    steps: Steps,
    saved: Saved,
    dcarry: Carry,
    dys: Any,
) -> Operands:
    """Runs `program`, as `fused.backward`, from a `saved` of carries alone."""

    def run(state: tuple[Any, ...], chunk: Any) -> tuple[tuple[Any, ...], Array]:
        xs, steps, saved, dys = chunk
        dcarry, *sums = state
        part = operands._replace(xs=xs)
        d = program(spec, part, steps, fused.with_gates(spec, part, saved), dcarry, dys)
        sums = jax.tree.map(lambda total, x: total + x.astype(total.dtype), tuple(sums), (d.weights, d.fresh, d.scale))
        return (d.carry, *sums), d.xs

    wide = accumulator(spec.dtype)  # sums over chunks lose digits in half precision, too
    shared = (operands.weights, operands.fresh, operands.scale)
    start = (dcarry, *jax.tree.map(lambda p: jnp.zeros_like(p, wide), shared))
    start = vary(start, varying(dys))
    inputs = (operands.xs, steps, saved, dys)
    length = _length(operands.xs)
    (dcarry, *sums), dxs = segmented(run, start, inputs, length, reverse=True)
    dweights, dfresh, dscale = jax.tree.map(lambda d, p: d.astype(p.dtype), tuple(sums), shared)
    return Operands(dxs, dweights, dcarry, dfresh, dscale)
