"""Chooses how many rows and steps a TPU kernel holds in VMEM at a time.

VMEM stores the last two axes of an array in tiles of 8 x 128 numbers of 32 bits, or 16 x 128 of 16 bits. What streams
through it is there twice: while the kernel reads or writes one block, the next is copied.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

MIB = 2**20
ALWAYS = 16 * MIB  # what a kernel has without a limit of its own
MOST = 60 * MIB  # every TPU from v5e on has at least 64 MiB
STREAM = 12 * MIB  # the blocks of a chunk, twice: many steps, so that few chunks start
WORK = 4 * MIB  # what the compiler needs for intermediate results
ROWS = 256  # enough to keep the matrix unit busy; Mosaic writes each operation out over all rows, which takes it long
ALIGNED = 16  # rows of a block, a multiple of those of a tile in any dtype


class Plan(NamedTuple):
    """The rows and steps of one block, and the bytes of VMEM that the kernel may use."""

    rows: int
    steps: int
    limit: int


def choose(shared: Sequence[Any], rows: Sequence[Any], steps: Sequence[Any]) -> Plan:
    """Returns the largest blocks that fit.

    Args:
      shared: the arrays that stay, whole.
      rows: the arrays of each row, `[B, ...]`.
      steps: the arrays of each step and row, `[T, B, ...]`.

    Raises:
      ValueError: one step of the fewest rows does not fit beside the shared arrays.
    """
    total, batch = steps[0].shape[:2]
    held = sum(bytes_of(a.shape, a.dtype) for a in shared) + WORK

    def of_rows(size: int) -> int:
        return held + 2 * sum(bytes_of((size, *a.shape[1:]), a.dtype) for a in rows)

    def of_step(size: int) -> int:
        return 2 * sum(bytes_of((size, *a.shape[2:]), a.dtype) for a in steps)

    size = min(batch, ROWS)
    while size > ALIGNED and of_rows(size) + of_step(size) > MOST:
        size = -(-size // (2 * ALIGNED)) * ALIGNED  # half, or a little more
    least = of_rows(size) + of_step(size)
    if least > MOST:
        raise ValueError(
            f"unroll: method='kernel' needs {least / MIB:.0f} MiB of a TPU's VMEM for the weights and one step of "
            f"{size} rows, expected at most {MOST // MIB} MiB; method='fused' has no such limit"
        )
    chunk = max(1, min(total, min(STREAM, MOST - of_rows(size)) // of_step(size)))
    return Plan(size, chunk, max(ALWAYS, of_rows(size) + chunk * of_step(size)))


def bytes_of(shape: tuple[int, ...], dtype: Any) -> int:
    """Returns the size of an array in VMEM."""
    *outer, second, last = shape
    sublanes = 8 * max(1, 4 // dtype.itemsize)
    return math.prod(outer) * _up(second, sublanes) * _up(last, 128) * dtype.itemsize


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
