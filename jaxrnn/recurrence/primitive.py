"""Makes the dense recurrence a JAX primitive: its first derivative is fused, and every transformation composes.

There is a primitive for each program. `recurrence` is the loop. Its batching rule folds a mapped axis into the batch
axes, so `vmap` costs as much as a batch axis; its JVP rule binds `recurrence_tangent`, whose transpose is
`recurrence_backward`, and vice versa. Second derivatives, and `vmap` over weights, use the plain programs.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.recurrence import fused
from jaxrnn.recurrence.fused import Operands, Saved, Steps
from jaxrnn.recurrence.gates import Gates, Spec
from jaxrnn.recurrence.programs import PLAIN, PLATFORMS, programs
from jaxrnn.sharding import vary, varying
from jaxrnn.types import Array, Carry

recurrence_p = Primitive("recurrence")
tangent_p = Primitive("recurrence_tangent")
backward_p = Primitive("recurrence_backward")


def run(spec: Spec, operands: Operands, steps: Steps) -> tuple[Carry, Any]:
    """Returns `(carry, ys)` of the recurrence, differentiable in `operands`."""
    out = bind(recurrence_p, (operands, steps), spec=spec, save=False)
    return jax.tree.unflatten(_result_tree(spec, operands, steps), out)


def bind(primitive: Primitive, arguments: Any, **static: Any) -> Any:
    """Binds arguments that vary over the same mesh axes, so that a loop's carry does not change its type."""
    leaves, tree = jax.tree.flatten(vary(arguments, varying(arguments)))
    return primitive.bind(*leaves, tree=tree, **static)


def _run(*leaves: Array, spec: Spec, tree: Any, save: bool, platform: str | None = None) -> list[Array]:
    operands, steps = jax.tree.unflatten(tree, leaves)
    return jax.tree.leaves(programs(spec, platform).forward(spec, operands, steps, save=save))


def _tangent(*leaves: Array, spec: Spec, tree: Any) -> list[Array]:
    return jax.tree.leaves(fused.tangent(spec, *jax.tree.unflatten(tree, leaves)))


def _backward(*leaves: Array, spec: Spec, tree: Any, platform: str | None = None) -> list[Array]:
    return jax.tree.leaves(programs(spec, platform).backward(spec, *jax.tree.unflatten(tree, leaves)))


# A new batch axis has this place in each operand; weights have none, since a batch shares them.
SHARED = -1
OPERAND_AXES: Any = Operands(*cast(Any, (1, SHARED, 0, 0, 0)))


def _result_tree(spec: Spec, operands: Operands, steps: Steps, *, save: bool = False) -> Any:
    """Returns the structure of `(carry, ys)`, and of `saved` if `save`."""
    ys: Any = 0
    if spec.then is not None:  # it may return any pytree for an output
        forward = partial(PLAIN.forward, spec, save=False)
        ys = jax.eval_shape(forward, operands, steps)[1]
    if not save:
        return jax.tree.structure((operands.carry, ys))
    gates = None if spec.rebuild else Gates(*cast(Any, (0, 0 if spec.paired else None)))
    return jax.tree.structure((operands.carry, ys, Saved(operands.carry, gates)))


# --- derivatives ---------------------------------------------------------------------------------------------------


def plain_jvp(program: Callable[..., Any], primals: Sequence[Array], tangents: Sequence[Any]) -> Any:
    """Returns the derivative of a plain program; flags among its arguments have none."""
    moving = [i for i, primal in enumerate(primals) if not jnp.issubdtype(primal.dtype, jnp.bool_)]

    def of_moving(*leaves: Array) -> Any:
        args = dict(enumerate(primals)) | dict(zip(moving, leaves, strict=True))
        return program(*args.values())

    dense = [ad.instantiate_zeros(tangents[i]) for i in moving]
    return jax.jvp(of_moving, [primals[i] for i in moving], dense)


def _run_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, spec: Spec, tree: Any, save: bool) -> Any:
    if save:  # this is a second derivative
        return plain_jvp(partial(_run, spec=spec, tree=tree, save=True), primals, tangents)
    operands, steps = jax.tree.unflatten(tree, primals)
    out = recurrence_p.bind(*primals, spec=spec, tree=tree, save=True)
    carry, ys, saved = jax.tree.unflatten(_result_tree(spec, operands, steps, save=True), out)
    shape: Any = jax.tree.structure(operands)
    d = jax.tree.unflatten(shape, [ad.instantiate_zeros(t) for t in tangents[: shape.num_leaves]])
    return jax.tree.leaves((carry, ys)), bind(tangent_p, (operands, steps, saved, d), spec=spec)


def plain_rule(program: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the JVP rule of a primitive whose derivative is that of this plain program."""
    return lambda primals, tangents, **static: plain_jvp(partial(program, **static), primals, tangents)


def transpose(other: Primitive, fixed: int, shape: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Returns the transpose rule of a primitive that is linear in its arguments after the `fixed` first ones.

    `other` is the primitive of the transposed program, with the same first arguments; `shape` makes of them the
    structure of what follows in `other`, a tuple.
    """

    def rule(cotangents: Sequence[Any], *leaves: Any, tree: Any, **static: Any) -> list[Any]:
        given = jax.tree.unflatten(tree, leaves)[:fixed]
        linear = jax.tree.unflatten(shape(*given, **static), [ad.instantiate_zeros(c) for c in cotangents])
        out = bind(other, (*given, *linear), **static)
        count = len(jax.tree.leaves(given))
        moving = map(ad.is_undefined_primal, leaves[count:])
        return [None] * count + [c if moves else None for moves, c in zip(moving, out, strict=True)]

    return rule


# --- vmap ----------------------------------------------------------------------------------------------------------


def fold(leaf: Array, mapped: int | None, axis: int, size: int) -> Array:
    if mapped is not None:
        return jnp.moveaxis(leaf, mapped, axis)
    return jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*leaf.shape[:axis], size, *leaf.shape[axis:]))


def batched(
    program: Callable[..., Any],
    primitive: Primitive,
    axes: Any,
    args: Sequence[Array],
    dims: Sequence[int | None],
    **static: Any,
) -> tuple[Any, Sequence[int]]:
    """Makes a mapped axis a batch axis of the same primitive; if weights are mapped, `vmap` maps the plain program."""
    tree = jax.tree.unflatten(static["tree"], args)
    targets = jax.tree.leaves(jax.tree.broadcast(axes, tree))
    if any(axis == SHARED and dim is not None for axis, dim in zip(targets, dims, strict=True)):
        return mapped(program, args, dims, **static)
    size = next(arg.shape[dim] for arg, dim in zip(args, dims, strict=True) if dim is not None)
    folded = [
        arg if axis == SHARED else fold(arg, dim, axis, size)
        for arg, dim, axis in zip(args, dims, targets, strict=True)
    ]
    out = primitive.bind(*folded, **static)
    carries = len(jax.tree.leaves(tree[0].carry))  # the final carry comes first; all other results begin with time
    return out, [0] * carries + [1] * (len(out) - carries)


def mapped(
    program: Callable[..., Any], args: Sequence[Array], dims: Sequence[int | None], **static: Any
) -> tuple[Any, Sequence[int]]:
    out = jax.vmap(partial(program, **static), in_axes=tuple(dims))(*args)
    return out, [0] * len(out)


# --- registration --------------------------------------------------------------------------------------------------


def register(primitive: Primitive, abstract: Callable[..., list[Any]], lowered: Callable[..., Sequence[Array]]) -> None:
    """Makes a primitive of a program that returns several arrays.

    Args:
      primitive: is bound with the arguments of the program.
      abstract: `(*avals, **static)`, the types of the results.
      lowered: `(*leaves, platform, **static)`, the program; a platform of None is any that it does not name.
    """
    compiled = cache(lambda **static: jax.jit(partial(primitive.bind, **static)))

    def eager(*leaves: Array, **static: Any) -> Sequence[Array]:
        with jax.disable_jit(False):  # only a compiled program has a platform
            return compiled(**static)(*leaves)

    primitive.multiple_results = True
    primitive.def_impl(eager)
    primitive.def_abstract_eval(abstract)
    for platform in (None, *PLATFORMS):
        rule = mlir.lower_fun(partial(lowered, platform=platform), multiple_results=True)
        mlir.register_lowering(primitive, rule, platform=platform)


def types_of(program: Callable[..., Sequence[Array]]) -> Callable[..., list[Any]]:
    """Returns the types of what a program in plain JAX returns, as `register` wants them."""
    return lambda *avals, **static: jax.make_jaxpr(partial(program, **static))(*avals).out_avals


def anywhere(program: Callable[..., Sequence[Array]]) -> Callable[..., Sequence[Array]]:
    """Returns a program that is the same on every platform, as `register` wants it."""
    return lambda *leaves, platform, **static: program(*leaves, **static)


register(recurrence_p, types_of(_run), _run)
register(tangent_p, types_of(_tangent), anywhere(_tangent))
register(backward_p, types_of(_backward), _backward)
batching.primitive_batchers[recurrence_p] = partial(batched, _run, recurrence_p, (OPERAND_AXES, 1))
batching.primitive_batchers[tangent_p] = partial(batched, _tangent, tangent_p, (OPERAND_AXES, 1, 1, OPERAND_AXES))
batching.primitive_batchers[backward_p] = partial(mapped, _backward)
ad.primitive_jvps[recurrence_p] = _run_jvp
ad.primitive_jvps[tangent_p] = plain_rule(_tangent)
ad.primitive_jvps[backward_p] = plain_rule(_backward)
ad.primitive_transposes[tangent_p] = transpose(
    backward_p, 3, lambda operands, steps, saved, spec: _result_tree(spec, operands, steps)
)
ad.primitive_transposes[backward_p] = transpose(
    tangent_p, 3, lambda operands, *_, spec: jax.tree.structure((operands,))
)
