"""The linear scan as one TPU kernel: each input is read once, and each output written once.

The grid goes over blocks of rows and columns, and for each of them over chunks of time, one after another. The state
stays on the chip from chunk to chunk, while the next chunk is read and the last one is written.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxrnn.recurrence.affine_kernel import Operands, Parts, advance

# A state of 8 registers of 8 x 128 numbers hides the latency of a step behind those of its neighbours.
ROWS, COLUMNS = 8, 1024
CHUNK = 2**17  # numbers of an input that are on the chip at once: 512 KiB, twice because the next chunk is read ahead
UNROLL = 8


def run(operands: Operands, *, reverse: bool, late: bool) -> Parts:
    total, rows, columns = operands.b[0].shape
    block = (min(ROWS, rows), min(COLUMNS, columns))
    chunk = min(total, max(1, CHUNK // (-(-block[0] // 8) * 8 * (-(-block[1] // 128) * 128))))
    count = -(-total // chunk)

    def spec(x: jax.Array) -> pl.BlockSpec:
        """Returns the block of an array; an axis of length 1 has one block, which is not read again."""
        moves = [n > 1 for n in x.shape]

        def at(i: jax.Array, j: jax.Array, t: jax.Array) -> tuple[jax.Array | int, ...]:
            where = (count - 1 - t if reverse else t, i, j)[-x.ndim :]
            return tuple(n if moving else 0 for n, moving in zip(where, moves, strict=True))

        sizes = (chunk, *block)[-x.ndim :]
        return pl.BlockSpec(tuple(n if moving else 1 for n, moving in zip(sizes, moves, strict=True)), at)

    def kernel(given: Operands, out: Parts, state: Parts) -> None:
        t = pl.program_id(2)

        @pl.when(t == 0)
        def _() -> None:
            for ref, h0 in zip(state, given.h0, strict=True):
                ref[...] = h0[...]

        first = (count - 1 - t if reverse else t) * chunk
        steps = chunk if total % chunk == 0 else jnp.minimum(chunk, total - first)

        def at(x: jax.Array, s: jax.Array) -> jax.Array:
            return x[0] if x.shape[0] == 1 else x[s]

        def step(i: jax.Array, h: Parts) -> Parts:
            s = steps - 1 - i if reverse else i
            a, b, resets = jax.tree.map(lambda x: at(x, s), (given.a, given.b, given.resets))
            h, ys = advance(h, a, b, resets, late=late)
            for ref, y in zip(out, ys, strict=True):
                ref[s] = y
            return h

        unroll = min(UNROLL, chunk) if total % chunk == 0 else 1
        last = lax.fori_loop(0, steps, step, tuple(ref[...] for ref in state), unroll=unroll)
        for ref, h in zip(state, last, strict=True):
            ref[...] = h

    made = tuple(jax.ShapeDtypeStruct((total, rows, columns), h0.dtype) for h0 in operands.h0)
    (h,) = pl.pallas_call(
        kernel,
        grid=(-(-rows // block[0]), -(-columns // block[1]), count),
        in_specs=[jax.tree.map(spec, operands)],
        out_specs=(jax.tree.map(spec, made),),
        out_shape=(made,),
        scratch_shapes=[tuple(pltpu.VMEM(block, h.dtype) for h in operands.h0)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        name="linear_scan",
    )(operands)
    return h
