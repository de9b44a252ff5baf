"""Runs a loop as one TPU kernel: weights and state stay in VMEM, the TPU's fast memory; the steps stream through it.

It knows no cell: it takes any `body` of a `rewrite.Loop`. What `body` closes over is shared by the batch and is loaded
once. The grid runs over blocks of the batch and, for each block, over chunks of steps, in which a loop runs.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jaxrnn.precision import in_plain_products
from jaxrnn.recurrence import rewrite, tiles
from jaxrnn.recurrence.rewrite import Body
from jaxrnn.sharding import is_placed
from jaxrnn.sizes import is_known
from jaxrnn.types import Array, Carry

ROUNDED = (None, "default", "fastest", "bfloat16", "BF16_BF16_F32")  # precisions of products in one pass of bfloat16
SHARED, ROWS, STEPS = 0, 1, 2  # the number of leading axes: none, that of the batch, those of time and the batch


def loop(
    body: Body, rows: Any, carry: Carry, buffers: Any, xs: Any, *, reverse: bool = False, unroll: int | None
) -> tuple[Carry, Any, Any]:
    """Is a `rewrite.Loop`; `unroll` has no meaning in it.

    Raises:
      ValueError: weights and one step do not fit into VMEM; a size is unknown; the types of arrays have a sharding.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    total, *batch = jax.tree.leaves(buffers)[0].shape[:-1]
    _check((rows, carry, buffers, xs))
    count = math.prod(batch)
    if 0 in (total, count):
        return rewrite.anew(body, rows, carry, buffers, xs, reverse=reverse, unroll=unroll)

    def folded(a: Any, leading: int) -> Any:
        """Makes one axis of all batch axes."""
        return a.reshape(*a.shape[: leading - 1], count, *a.shape[leading - 1 + len(batch) :])

    (fixed, of_fixed), (states, of_states), (inputs, of_inputs) = map(jax.tree.flatten, (rows, carry, (buffers, xs)))
    fixed, states = ([folded(a, ROWS) for a in leaves] for leaves in (fixed, states))
    inputs = [folded(a, STEPS) for a in inputs]

    def traced(size: int) -> tuple[ClosedJaxpr, Any]:
        """Traces a step of `size` rows. Its constants are the shared arrays."""
        given = [
            jax.tree.unflatten(of_fixed, [jax.eval_shape(lambda a: a[:size], a) for a in fixed]),
            jax.tree.unflatten(of_states, [jax.eval_shape(lambda a: a[:size], a) for a in states]),
            *jax.tree.unflatten(of_inputs, [jax.eval_shape(lambda a: a[0, :size], a) for a in inputs]),
        ]
        with jax.default_matmul_precision(_precision()):
            closed, shape = jax.make_jaxpr(body, return_shape=True)(*given)
        return in_plain_products(closed), shape

    step, (_, new, y) = traced(count)
    shared = [jnp.asarray(c) for c in step.consts]
    outputs = [jax.ShapeDtypeStruct((total, *a.shape), a.dtype) for a in jax.tree.leaves((new, y))]
    weights = [_wire(a, SHARED) for a in shared]
    of_rows = [_wire(a, ROWS) for a in (*fixed, *states)]
    of_steps = [_wire(a, STEPS) for a in inputs]
    ends, results = [_wired(a, ROWS) for a in states], [_wired(a, STEPS) for a in outputs]
    plan = tiles.choose(weights, [*of_rows, *ends], [*of_steps, *results])
    if plan.rows < count:
        step, _ = traced(plan.rows)
    chunks = -(-total // plan.steps)

    def kernel(*refs: Any) -> None:
        shared_refs, fixed_refs, first_refs, input_refs, output_refs, state_refs = _parts(
            refs, shared, fixed, states, inputs, outputs, states
        )
        chunk = pl.program_id(1)

        @pl.when(chunk == 0)
        def _() -> None:
            for state, first in zip(state_refs, first_refs, strict=True):
                state[...] = first[...]

        chunk = chunks - 1 - chunk if reverse else chunk
        steps = jnp.minimum(plan.steps, total - chunk * plan.steps)
        kinds = _parts([v.aval for v in step.jaxpr.invars], fixed, states, inputs)
        run = jaxpr_as_fun(
            ClosedJaxpr(step.jaxpr, [_read(ref, ..., a) for ref, a in zip(shared_refs, shared, strict=True)])
        )
        rows = [_read(ref, ..., a) for ref, a in zip(fixed_refs, kinds[0], strict=True)]

        def one(i: Array, _: None) -> None:
            t = steps - 1 - i if reverse else i
            state = [_read(ref, ..., a) for ref, a in zip(state_refs, kinds[1], strict=True)]
            at_t = [_read(ref, t, a) for ref, a in zip(input_refs, kinds[2], strict=True)]
            new, outs = _parts(run(*rows, *state, *at_t), states, outputs)
            for ref, value in zip(state_refs, new, strict=True):
                ref[...] = _stored(value, ref.shape)
            for ref, value in zip(output_refs, outs, strict=True):
                ref[t] = _stored(value, ref.shape[1:])

        lax.fori_loop(0, steps, one, None)

    def everywhere(a: Any) -> Any:
        once = pl.Buffered(buffer_count=1)  # it is never loaded again, so it needs no second buffer
        return pl.BlockSpec(a.shape, lambda *_: (0,) * a.ndim, pipeline_mode=once)

    def by_rows(a: Any) -> Any:
        return pl.BlockSpec((plan.rows, *a.shape[1:]), lambda row, _: (row, *[0] * (a.ndim - 1)))

    def by_steps(a: Any) -> Any:
        def at(row: Any, chunk: Any) -> tuple[Any, ...]:
            return (chunks - 1 - chunk if reverse else chunk, row, *[0] * (a.ndim - 2))

        return pl.BlockSpec((plan.steps, plan.rows, *a.shape[2:]), at)

    # A new buffer takes the place of the old one.
    first = len(weights) + len(of_rows)
    pairs = enumerate(zip(results[: len(jax.tree.leaves(new))], of_steps, strict=False))
    run = pl.pallas_call(
        kernel,
        grid=(-(-count // plan.rows), chunks),
        in_specs=[*map(everywhere, weights), *map(by_rows, of_rows), *map(by_steps, of_steps)],
        out_specs=[*map(by_steps, results), *map(by_rows, ends)],
        out_shape=[*results, *ends],
        input_output_aliases={first + i: i for i, (a, b) in pairs if (a.shape, a.dtype) == (b.shape, b.dtype)},
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=plan.limit
        ),
        name="recurrence",
    )
    ys, last = _parts(run(*weights, *of_rows, *of_steps), outputs, states)
    ys = [_unwired(a, like).reshape(total, *batch, *like.shape[2:]) for a, like in zip(ys, outputs, strict=True)]
    last = [_unwired(a, like).reshape(*batch, *like.shape[1:]) for a, like in zip(last, states, strict=True)]
    return jax.tree.unflatten(of_states, last), *jax.tree.unflatten(jax.tree.structure((new, y)), ys)


def is_simulated() -> bool:
    """Returns whether Pallas simulates kernels on a CPU, which it does in a context that it has for tests."""
    from jax.experimental import pallas as pl

    nothing = pl.pallas_call(lambda ref: None, out_shape=jax.ShapeDtypeStruct((8, 128), jnp.float32))
    try:
        jax.jit(nothing).trace().lower(lowering_platforms=("cpu",))
    except ValueError as error:
        return "interpret mode" not in str(error)  # inside `shard_map` the probe fails for other reasons
    return True


def _precision() -> str:
    """Returns the precision of products. Mosaic rounds to bfloat16 or not at all, so what lies between is exact."""
    config: Any = jax.config  # whose options are not typed
    return "default" if config.jax_default_matmul_precision in ROUNDED else "highest"


def _check(arrays: Any) -> None:
    if is_placed(arrays):
        raise ValueError(
            "unroll: method='kernel' got arrays whose types say how they lie on a mesh, expected "
            "shard_map(…, check_vma=False) around it; method='fused' takes them"
        )
    for a in jax.tree.leaves(arrays):
        if not all(map(is_known, a.shape)):
            raise ValueError(
                f"unroll: method='kernel' got an array of shape {a.shape}, expected sizes that are numbers when the "
                "program is made; method='fused' takes symbols"
            )


def _parts(leaves: Any, *like: Any) -> list[Any]:
    """Splits `leaves` into consecutive parts, as long as each of `like`."""
    leaves, parts = list(leaves), []
    for each in like:
        parts.append(leaves[: len(each)])
        leaves = leaves[len(each) :]
    return parts


def _wire(a: Array, leading: int) -> Array:
    """Returns `a` as kernels take it: without bools, and with two axes at least that VMEM can tile."""
    a = a.astype(jnp.int32) if a.dtype == jnp.bool_ else a
    if leading == SHARED:
        return a.reshape((1,) * (2 - a.ndim) + a.shape)
    return a.reshape(a.shape + (1,) * (leading + 1 - a.ndim))


def _wired(a: Any, leading: int) -> jax.ShapeDtypeStruct:
    """Returns the shape and dtype of `_wire`."""
    return jax.eval_shape(lambda a: _wire(a, leading), jax.ShapeDtypeStruct(a.shape, a.dtype))


def _unwired(a: Array, like: Any) -> Array:
    """Inverts `_wire`."""
    a = a.reshape(like.shape)
    return a != 0 if like.dtype == jnp.bool_ else a


def _read(ref: Any, index: Any, like: Any) -> Array:
    return _unwired(ref[index], like)


def _stored(value: Array, shape: tuple[int, ...]) -> Array:
    return (value.astype(jnp.int32) if value.dtype == jnp.bool_ else value).reshape(shape)
