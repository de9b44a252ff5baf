"""The kernels of a recurrence with a matrix for a state: one forward and one backward, chunk by chunk.

The forward kernel stores the state before each chunk. From it the backward kernel differentiates that chunk, in the
reverse order of chunks.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.recurrence.chunk_layout import Parts, Scan
from jaxrnn.recurrence.chunkwise import Inputs
from jaxrnn.recurrence.matrix_chunk import chunk
from jaxrnn.recurrence.vmem import is_simulated
from jaxrnn.types import Array

REMEDY = "method='auto' runs everywhere"


class Operands(NamedTuple):
    """The arrays that a kernel reads.

    Attributes:
      inputs: arrays `[T, heads, K]` or `[T, heads, V]`, and `[heads, T]` where a step has one number.
      state: `[heads, K, V]`.
      fresh: like `state`, or None.
    """

    inputs: Inputs
    state: Any
    fresh: Any


def kernels() -> dict[str, Scan]:
    """Returns loops over chunks by platform. On the CPU they run in Pallas's interpret mode alone.

    The modules are imported here because they import Pallas, which takes as long as JAX itself.
    """
    from jaxrnn.recurrence import chunks_gpu, chunks_tpu

    return {"cpu": chunks_tpu.scan, "tpu": chunks_tpu.scan, "cuda": chunks_gpu.scan}


def _scan(platform: str | None, dtype: Any) -> Scan:
    if platform is None or platform not in kernels() or (platform == "cpu" and not is_simulated()):
        raise ValueError(
            f"matrix_scan: method='kernel' has no program for platform {platform!r}, expected one of "
            f"{sorted(kernels().keys() - {'cpu'})}; {REMEDY}"
        )
    if platform != "cpu" and dtype != jnp.float32:
        raise ValueError(f"matrix_scan: method='kernel' takes no {dtype} on {platform}; {REMEDY}")
    return kernels()[platform]


def forward(*leaves: Array, tree: Any, size: int, save: bool, platform: str | None) -> list[Array]:
    (inputs, state, fresh), scan = jax.tree.unflatten(tree, leaves), _scan(platform, leaves[0].dtype)

    def body(fresh: Any, state: Array, given: Parts) -> tuple[Array, Parts]:
        after, y = chunk(state, _joined(*given), fresh)
        return after, Parts(y, state if save else None)

    given, sizes = _by_chunk(inputs, size), {"total": inputs.q.shape[0], "size": size}
    return jax.tree.leaves(scan(body, fresh, state, given, **sizes, reverse=False, name="matrix_scan"))


def backward(*leaves: Array, tree: Any, size: int, platform: str | None) -> list[Array]:
    (inputs, _, fresh), states, (dstate, dys) = jax.tree.unflatten(tree, leaves)
    scan = _scan(platform, dys.dtype)

    def body(fresh: Any, carry: Any, given: Parts) -> tuple[Any, Parts]:
        (dstate, dfresh), (several, dy), (one, state) = carry, *given
        x = _joined(several, one)

        def of(state: Array, moving: Inputs, fresh: Any) -> tuple[Array, Array]:
            return chunk(state, moving._replace(resets=x.resets), fresh)

        dstate, dx, more = jax.vjp(of, state, x._replace(resets=None), fresh)[1]((dstate, dy))
        return (dstate, jax.tree.map(jnp.add, dfresh, more)), Parts(_kept(dx, several), _kept(dx, one))

    total, (several, one) = inputs.q.shape[0], _by_chunk(inputs, size)
    (dstate, dfresh), made = scan(
        body,
        fresh,
        (dstate, jax.tree.map(jnp.zeros_like, fresh)),
        Parts((several, dys), (one, states)),
        total=total,
        size=size,
        reverse=True,
        name="matrix_scan_backward",
    )
    numbers = jax.tree.map(lambda a: a.reshape(a.shape[0], -1)[:, :total], made.chunks)
    return jax.tree.leaves(Operands(_joined(made.steps, numbers), dstate, dfresh))


def _by_chunk(inputs: Inputs, size: int) -> Parts:
    """Returns the arrays by step, and those with one number for each step as rows of a chunk."""

    def rows(a: Array) -> Array:
        heads, total = a.shape
        padded = jnp.pad(a.astype(inputs.q.dtype), [(0, 0), (0, -total % size)])
        return padded.reshape(heads, -1, 1, size)

    several, one = (Inputs._make(a if a is not None and a.ndim == n else None for a in inputs) for n in (3, 2))
    return Parts(several, jax.tree.map(rows, one))


def _joined(several: Inputs, one: Inputs) -> Inputs:
    return Inputs._make(a if b is None else b for a, b in zip(several, one, strict=True))


def _kept(x: Inputs, like: Inputs) -> Inputs:
    return Inputs._make(None if b is None else a for a, b in zip(x, like, strict=True))
