"""The dense recurrence as a JAX operation: its first derivative is fused, and every transformation composes.

Two primitives. `recurrence` is the loop. Its batching rule folds a mapped axis into the batch axes, so `vmap` costs
what a batch axis costs; its JVP rule binds `recurrence_tangent`, whose transpose is the fused backward pass.
Whatever lies beyond (second derivatives, weights that are mapped) is derived from the plain programs.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.recurrence.fused import Operands, Saved, Spec, Steps, backward, forward, tangent
from jaxrnn.types import Array, Carry

recurrence_p = Primitive("recurrence")
tangent_p = Primitive("recurrence_tangent")


def run(spec: Spec, operands: Operands, steps: Steps) -> tuple[Carry, Array]:
    """`(carry, ys)` of the recurrence, differentiable in `operands`."""
    leaves, tree = jax.tree.flatten((operands, steps))
    out = recurrence_p.bind(*leaves, spec=spec, tree=tree, save=False)
    return jax.tree.unflatten(jax.tree.structure((operands.carry, 0)), out)


def _run(*leaves: Array, spec: Spec, tree: Any, save: bool) -> list[Array]:
    return jax.tree.leaves(forward(spec, *jax.tree.unflatten(tree, leaves), save=save))


def _tangent(*leaves: Array, spec: Spec, tree: Any) -> list[Array]:
    return jax.tree.leaves(tangent(spec, *jax.tree.unflatten(tree, leaves)))


# Where a new batch axis goes in operands and results. Weights have none: a batch shares them.
SHARED = -1
OPERAND_AXES: Any = Operands(*cast(Any, (1, SHARED, 0, 0)))
RUN_AXES = (OPERAND_AXES, 1)
TANGENT_AXES = (OPERAND_AXES, 1, 1, OPERAND_AXES)


def _result_tree(spec: Spec, carry: Carry, *, save: bool) -> Any:
    gates = None if spec.rebuild else tuple((0, 0) if pair else 0 for pair in spec.paired)
    return jax.tree.structure((carry, 0, Saved(carry, gates) if save else None))


# --- derivatives ---------------------------------------------------------------------------------------------------


def _plain_jvp(program: Callable[..., Any], primals: Sequence[Array], tangents: Sequence[Any]) -> Any:
    """The derivative of a plain program; the steps' flags among its arguments have none."""
    moving = [i for i, primal in enumerate(primals) if not jnp.issubdtype(primal.dtype, jnp.bool_)]

    def of_moving(*leaves: Array) -> Any:
        args = dict(enumerate(primals)) | dict(zip(moving, leaves, strict=True))
        return program(*args.values())

    dense = [ad.instantiate_zeros(tangents[i]) for i in moving]
    return jax.jvp(of_moving, [primals[i] for i in moving], dense)


def _run_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, spec: Spec, tree: Any, save: bool) -> Any:
    if save:  # a derivative of the derivative
        return _plain_jvp(partial(_run, spec=spec, tree=tree, save=True), primals, tangents)
    operands, steps = jax.tree.unflatten(tree, primals)
    out = recurrence_p.bind(*primals, spec=spec, tree=tree, save=True)
    carry, ys, saved = jax.tree.unflatten(_result_tree(spec, operands.carry, save=True), out)
    shape: Any = jax.tree.structure(operands)
    d = jax.tree.unflatten(shape, [ad.instantiate_zeros(t) for t in tangents[: shape.num_leaves]])
    leaves, inner = jax.tree.flatten((operands, steps, saved, d))
    return jax.tree.leaves((carry, ys)), tangent_p.bind(*leaves, spec=spec, tree=inner)


def _tangent_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, spec: Spec, tree: Any) -> Any:
    return _plain_jvp(partial(_tangent, spec=spec, tree=tree), primals, tangents)


def _tangent_transpose(cotangents: Sequence[Any], *args: Any, spec: Spec, tree: Any) -> list[Any]:
    operands, steps, saved, _ = jax.tree.unflatten(tree, args)
    shape = jax.tree.structure((operands.carry, 0))
    dcarry, dys = jax.tree.unflatten(shape, [ad.instantiate_zeros(c) for c in cotangents])
    out = jax.tree.leaves(backward(spec, operands, steps, saved, dcarry, dys))
    first = len(args) - len(out)  # before them stand the residuals, in which it is not linear
    moving = [ad.is_undefined_primal(x) for x in args[first:]]
    return [None] * first + [c if moves else None for moves, c in zip(moving, out, strict=True)]


# --- vmap ----------------------------------------------------------------------------------------------------------


def _fold(leaf: Array, mapped: int | None, axis: int, size: int) -> Array:
    if mapped is not None:
        return jnp.moveaxis(leaf, mapped, axis)
    return jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*leaf.shape[:axis], size, *leaf.shape[axis:]))


def _batched(
    program: Callable[..., Any],
    primitive: Primitive,
    axes: Any,
    args: Sequence[Array],
    dims: Sequence[int | None],
    **static: Any,
) -> tuple[Any, Sequence[int]]:
    """A mapped axis becomes a batch axis of the same primitive; where weights are mapped, each has its own loop."""
    tree = jax.tree.unflatten(static["tree"], args)
    targets = jax.tree.leaves(jax.tree.broadcast(axes, tree))
    if any(axis == SHARED and dim is not None for axis, dim in zip(targets, dims, strict=True)):
        out = jax.vmap(partial(program, **static), in_axes=tuple(dims))(*args)
        return out, [0] * len(out)
    size = next(arg.shape[dim] for arg, dim in zip(args, dims, strict=True) if dim is not None)
    folded = [
        arg if axis == SHARED else _fold(arg, dim, axis, size)
        for arg, dim, axis in zip(args, dims, targets, strict=True)
    ]
    out = primitive.bind(*folded, **static)
    carries = len(jax.tree.leaves(tree[0].carry))  # the final carry comes first; all else begins with time
    return out, [0] * carries + [1] * (len(out) - carries)


# --- registration --------------------------------------------------------------------------------------------------


def _register(primitive: Primitive, program: Callable[..., list[Array]], axes: Any) -> None:
    compiled = cache(lambda **static: jax.jit(partial(program, **static)))

    def abstract(*avals: Any, **static: Any) -> list[Any]:
        args = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
        return [jax.core.ShapedArray(s.shape, s.dtype) for s in jax.eval_shape(partial(program, **static), *args)]

    primitive.multiple_results = True
    primitive.def_impl(lambda *args, **static: compiled(**static)(*args))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(program, multiple_results=True))
    batching.primitive_batchers[primitive] = partial(_batched, program, primitive, axes)


_register(recurrence_p, _run, RUN_AXES)
_register(tangent_p, _tangent, TANGENT_AXES)
ad.primitive_jvps[recurrence_p] = _run_jvp
ad.primitive_jvps[tangent_p] = _tangent_jvp
ad.primitive_transposes[tangent_p] = _tangent_transpose
