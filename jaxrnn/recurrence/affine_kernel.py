"""Runs `hₜ = aₜ hₜ₋₁ + bₜ` as a kernel of Pallas, where the platform has one.

Kernels see three axes, time, rows and columns, and real numbers: a complex array is a pair of real ones, because
neither compiler for accelerators knows complex numbers. All sums are in the dtype of the state; `a` and `b` may be
narrower, and are widened after they are read.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence.affine import Steps
from jaxrnn.recurrence.vmem import is_simulated
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

Parts = tuple[Any, ...]  # a real array, or the real and the imaginary part of a complex one


class Operands(NamedTuple):
    """The arrays that a kernel reads.

    Attributes:
      a: parts `[T, rows, columns]`; any axis may be 1.
      b: parts `[T, rows, columns]`.
      h0: parts `[rows, columns]`.
      resets: int32 like `a`, with 1 for True; None: nowhere.
    """

    a: Parts
    b: Parts
    h0: Parts
    resets: Any = None


def advance(h: Parts, a: Parts, b: Parts, resets: Any, *, late: bool) -> tuple[Parts, Parts]:
    """Runs one step; returns the state that goes on and the one that is an output, as `affine.loop` does."""
    if late:
        h = added(h, b)
        return times(a, h, resets), h
    h = added(times(a, h, resets), b)
    return h, h


def added(h: Parts, b: Parts) -> Parts:
    return tuple(p + q.astype(p.dtype) for p, q in zip(h, b, strict=True))


def times(a: Parts, h: Parts, resets: Any) -> Parts:
    """Returns `a h`, and 0 at resets."""
    a = tuple(x.astype(h[0].dtype) for x in a)
    if len(a) == 1:
        product: Parts = (a[0] * h[0],)
    else:
        product = (a[0] * h[0] - a[1] * h[1], a[0] * h[1] + a[1] * h[0])
    return product if resets is None else tuple(jnp.where(resets != 0, 0, p) for p in product)


def kernels() -> dict[str, Callable[..., Parts]]:
    """Returns `(operands, *, reverse, late) -> h`, parts `[T, rows, columns]`, by platform.

    On the CPU kernels run in Pallas's interpret mode alone. The modules are imported here because they import Pallas,
    which takes as long as JAX itself.
    """
    from jaxrnn.recurrence import affine_gpu, affine_tpu

    return {"cpu": affine_tpu.run, "tpu": affine_tpu.run, "cuda": affine_gpu.run}


def run(steps: Steps, h0: Array, *, reverse: bool, late: bool, platform: str | None) -> Array:
    """Runs `affine.loop` as the kernel of a platform."""
    programs = kernels()
    if platform is None or platform not in programs or (platform == "cpu" and not is_simulated()):
        raise ValueError(
            f"linear_scan: method='kernel' has no program for platform {platform!r}, expected one of "
            f"{sorted(programs.keys() - {'cpu'})}; {REMEDY}"
        )
    if platform == "tpu" and jnp.finfo(h0.dtype).bits > 32:
        raise ValueError(f"linear_scan: method='kernel' takes no {h0.dtype} on tpu; {REMEDY}")
    if not all(map(is_known, steps.b.shape)):
        raise ValueError(f"linear_scan: method='kernel' takes no symbols for sizes, such as {steps.b.shape}; {REMEDY}")
    if steps.b.size == 0:
        return steps.b.astype(h0.dtype)
    rows = math.prod(steps.b.shape[1:-1])
    columns = steps.b.shape[-1] if steps.b.ndim > 1 else 1

    def folded(x: Array) -> Array:
        """Makes one axis of those between time and the last, broadcast only where some are broadcast and some not."""
        between = x.shape[1:-1]
        if not all(n == 1 for n in between):
            x = jnp.broadcast_to(x, (x.shape[0], *steps.b.shape[1:-1], *x.shape[-1:]))
        return x.reshape(x.shape[0], -1, x.shape[-1] if x.ndim > 1 else 1)

    resets = None if steps.resets is None else folded(steps.resets.astype(jnp.int32))
    a, b = (tuple(map(folded, as_parts(x))) for x in (steps.a, steps.b))
    start = tuple(x.reshape(rows, columns) for x in as_parts(h0))
    h = programs[platform](Operands(a, b, start, resets), reverse=reverse, late=late)
    return as_whole(h).reshape(steps.b.shape)


REMEDY = "method='auto' runs everywhere"


def as_parts(x: Array) -> Parts:
    return (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)


def as_whole(parts: Parts) -> Array:
    return parts[0] if len(parts) == 1 else lax.complex(*parts)
