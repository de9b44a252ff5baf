"""Chooses the programs of a dense recurrence by its method and the platform, which only lowering knows.

A platform of None is any that has no programs of its own. It is also that of what is traced and not lowered, such as
second derivatives, which are therefore in plain JAX with every method.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxrnn.recurrence import fused, fused_chunks, rewrite, rows_kernel, vmem
from jaxrnn.recurrence.fused import Operands, Saved, Steps
from jaxrnn.recurrence.gates import Spec
from jaxrnn.types import Array, Carry


class Programs(NamedTuple):
    """The two loops of a recurrence.

    Attributes:
      forward: `(spec, operands, steps, *, save) -> (carry, ys, saved)`, as `fused.forward`.
      backward: `(spec, operands, steps, saved, dcarry, dys) -> cotangents of the operands`, as `fused.backward`.
    """

    forward: Callable[..., tuple[Carry, Any, Saved | None]]
    backward: Callable[..., Operands]


def looped(loop: rewrite.Loop, *, cached: bool = False) -> Programs:
    """Returns the programs in plain JAX around `loop`; `cached` says that large forward passes are faster in chunks."""
    return chunked(partial(fused.forward, loop=loop), partial(fused.backward, loop=loop), cached=cached)


def chunked(forward: Callable[..., Any], backward: Callable[..., Operands], *, cached: bool = False) -> Programs:
    """Returns these programs, which run on one chunk of steps at a time where the derivative recomputes the gates."""

    def run(spec: Spec, operands: Operands, steps: Steps, *, save: bool) -> tuple[Carry, Array, Saved | None]:
        in_chunks = spec.rebuild or (cached and not save and fused_chunks.are_faster(spec, operands))
        program = partial(fused_chunks.forward, forward) if in_chunks else forward
        return program(spec, operands, steps, save=save)

    def derive(spec: Spec, *args: Any) -> Operands:
        program = partial(fused_chunks.backward, backward) if spec.rebuild else backward
        return program(spec, *args)

    return Programs(run, derive)


PLAIN = looped(rewrite.anew)
# On the CPU a second array of all gates costs more than its arithmetic; on other devices the conditional in the loop
# that saves it would wait for the host in every step.
FUSED = {"cpu": looped(rewrite.in_place, cached=True)}
# The CPU has the TPU's kernel, for tests alone: Pallas simulates it there.
KERNELS: dict[str, Programs] = {
    "tpu": looped(vmem.loop),
    "cpu": looped(vmem.loop),
    "cuda": chunked(rows_kernel.forward, rows_kernel.backward),
}
PLATFORMS = ("cpu", "tpu", "cuda", "rocm")


def programs(spec: Spec, platform: str | None) -> Programs:
    """Returns the programs of `spec.method` for a platform."""
    if platform is None or spec.method == "fused":
        return FUSED.get(platform or "", PLAIN)
    if platform not in KERNELS or (platform == "cpu" and not vmem.is_simulated()):
        raise ValueError(
            f"unroll: method='kernel' has no program for platform {platform!r}, expected one of "
            f"{sorted(KERNELS.keys() - {'cpu'})}; method='fused' runs everywhere"
        )
    if platform == "tpu" and spec.dtype not in (jnp.float32, jnp.bfloat16):  # Mosaic cannot load others
        raise ValueError(
            f"unroll: method='kernel' has no program for dtype {spec.dtype} on a TPU, expected float32 or bfloat16; "
            "method='fused' takes it"
        )
    return KERNELS[platform]
