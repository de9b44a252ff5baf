"""Loops over chunks of time in one TPU kernel: each input is read once, and each output written once.

The grid goes over blocks of heads, and for each of them over chunks of time, one after another. The states of a block
stay on the chip from chunk to chunk, while the next chunk is read and the last one is written.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxrnn.recurrence.chunk_layout import Body, Parts, made_by
from jaxrnn.recurrence.tiles import ALWAYS, MIB, MOST, WORK, bytes_of

HEADS = 8  # the tile of a step has the numbers of 8 heads side by side, so they are read together


def scan(
    body: Body, fixed: Any, carry: Any, given: Parts, *, total: int, size: int, reverse: bool, name: str
) -> tuple[Any, Parts]:
    """Is a `chunk_layout.Scan`.

    Raises:
      ValueError: the chunks of a block of heads do not fit into VMEM.
    """
    heads = jax.tree.leaves(carry)[0].shape[0]
    block, count = min(HEADS, heads), -(-total // size)
    made = made_by(body, fixed, carry, given, total, size)

    def whole(a: Any) -> pl.BlockSpec:
        return pl.BlockSpec((block, *a.shape[1:]), lambda n, t: (n, 0, 0))

    def at(t: Any) -> Any:
        return count - 1 - t if reverse else t

    def of_steps(a: Any) -> pl.BlockSpec:
        return pl.BlockSpec((size, block, a.shape[2]), lambda n, t: (at(t), n, 0))

    def of_chunks(a: Any) -> pl.BlockSpec:
        return pl.BlockSpec((block, None, *a.shape[2:]), lambda n, t: (n, at(t), 0, 0))

    def specs(parts: Parts) -> Parts:
        return Parts(jax.tree.map(of_steps, parts.steps), jax.tree.map(of_chunks, parts.chunks))

    def kernel(fixed: Any, first: Any, given: Parts, last: Any, made: Parts, state: Any) -> None:
        t = pl.program_id(1)

        def write(refs: Any, values: Any, where: Any = ...) -> None:
            for ref, value in zip(jax.tree.leaves(refs), jax.tree.leaves(values), strict=True):
                ref[where] = value[...]

        @pl.when(t == 0)
        def _() -> None:
            write(state, first)

        def one(n: Any, _: None) -> None:
            def steps(ref: Any) -> Any:
                a = ref[:, n, :]
                if total % size == 0:
                    return a
                there = lax.broadcasted_iota(jnp.int32, a.shape, 0) < total - at(t) * size
                return jnp.where(there, a, 0)

            def own(tree: Any) -> Any:
                return jax.tree.map(lambda ref: ref[n], tree)

            inputs = Parts(jax.tree.map(steps, given.steps), own(given.chunks))
            after, out = body(own(fixed), own(state), inputs)
            write((state, made.chunks), (after, out.chunks), n)
            write(made.steps, out.steps, (slice(None), n))

        lax.fori_loop(0, block, one, None)

        @pl.when(t == count - 1)
        def _() -> None:
            write(last, state)

    blocks = [((size, block, a.shape[2]), a.dtype) for a in jax.tree.leaves((given.steps, made.steps))]
    others = jax.tree.leaves((fixed, carry, carry, given.chunks, made.chunks))
    blocks += [((block, *a.shape[-2:]), a.dtype) for a in others]
    needed = WORK + 2 * sum(bytes_of(*each) for each in blocks)  # the next block is read while one is in use
    if needed > MOST:
        raise ValueError(
            f"matrix_scan: method='kernel' needs {needed / MIB:.0f} MiB of a TPU's VMEM for {size} steps of {block} "
            f"heads, expected at most {MOST // MIB} MiB; method='auto' has no such limit"
        )
    return pl.pallas_call(
        kernel,
        grid=(-(-heads // block), count),
        in_specs=[jax.tree.map(whole, fixed), jax.tree.map(whole, carry), specs(given)],
        out_specs=(jax.tree.map(whole, carry), specs(made)),
        out_shape=(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), carry), made),
        scratch_shapes=[jax.tree.map(lambda a: pltpu.VMEM((block, *a.shape[1:]), a.dtype), carry)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=max(ALWAYS, needed)
        ),
        name=name,
    )(fixed, carry, given)
