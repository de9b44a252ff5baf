"""Runs a recurrence with a matrix for a state as kernels of Pallas: JAX primitives, so every transformation composes.

The primitives know heads alone; batch axes and mapped axes become heads. Tangents and second derivatives are programs
in plain JAX.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxrnn.recurrence import chunkwise, matrix_kernel
from jaxrnn.recurrence.chunkwise import Inputs
from jaxrnn.recurrence.matrix_kernel import REMEDY, Operands
from jaxrnn.recurrence.primitive import anywhere, bind, fold, plain_rule, register, transpose
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

LEAST, MOST = 16, 64  # steps of a chunk, a power of two; GPUs multiply no smaller matrices
NUMBERS = ("log_decay", "beta", "resets")  # these may have one number for each step and head


def run(inputs: Inputs, state: Array, fresh: Array | None, size: int) -> tuple[Array, Array]:
    """Is `chunkwise.chunked`, with the largest power of two up to `size` and `MOST` as the steps of a chunk."""
    head, sizes = inputs.q.shape[:-1], (*inputs.q.shape, inputs.v.shape[-1])
    if not all(map(is_known, sizes)):
        raise ValueError(f"matrix_scan: method='kernel' takes no symbols for sizes, such as {sizes}; {REMEDY}")
    if 0 in sizes:
        return chunkwise.stepwise(inputs, state, fresh)
    heads = math.prod(head[1:])
    if inputs.resets is not None:
        inputs = inputs._replace(resets=inputs.resets[..., None])

    def folded(name: str, a: Array) -> Array:
        a = jnp.broadcast_to(a, (*head, a.shape[-1])).reshape(head[0], heads, -1)
        return a[..., 0].T if name in NUMBERS and a.shape[-1] == 1 else a

    given = Inputs(**{name: folded(name, a) for name, a in inputs._asdict().items() if a is not None})
    start, fresh = (None if a is None else a.reshape(heads, *a.shape[-2:]) for a in (state, fresh))
    size = min(MOST, max(LEAST, 1 << (size.bit_length() - 1)))
    last, ys = bind(forward_p, Operands(given, start, fresh), size=size, save=False)
    return last.reshape(state.shape), ys.reshape(*head, -1)


# --- the same in plain JAX -----------------------------------------------------------------------------------------


def _plain(operands: Operands, size: int) -> tuple[Array, Array]:
    def apart(a: Array) -> Array:
        return a.T[..., None, None] if a.ndim == 2 else a[:, :, None]

    inputs = jax.tree.map(apart, operands.inputs)
    if inputs.resets is not None:
        inputs = inputs._replace(resets=inputs.resets[..., 0])
    state, fresh = jax.tree.map(lambda a: a[:, None], (operands.state, operands.fresh))
    last, ys = chunkwise.chunked(inputs, state, fresh, size)
    return last[:, 0], ys[:, :, 0]


def _moving(operands: Operands) -> Operands:
    """Returns the operands that have a derivative."""
    return operands._replace(inputs=operands.inputs._replace(resets=None))


def _around(operands: Operands, size: int) -> Any:
    """Returns `_plain` as a function of the operands that have a derivative."""

    def of(moving: Operands) -> tuple[Array, Array]:
        inputs = moving.inputs._replace(resets=operands.inputs.resets)
        return _plain(moving._replace(inputs=inputs), size)

    return of


def _tangent(*leaves: Array, tree: Any, size: int) -> list[Array]:
    operands, _, d = jax.tree.unflatten(tree, leaves)
    return jax.tree.leaves(jax.jvp(_around(operands, size), (_moving(operands),), (d,))[1])


def _cotangent(*leaves: Array, tree: Any, size: int) -> list[Array]:
    operands, _, d = jax.tree.unflatten(tree, leaves)
    return jax.tree.leaves(jax.vjp(_around(operands, size), _moving(operands))[1](d))


# --- derivatives ---------------------------------------------------------------------------------------------------

# Operands are the leaves of `Operands`, and results the state, the outputs, and the states before chunks if `save`.
forward_p = Primitive("matrix_scan_kernel")
# Operands are the leaves of `(Operands, states, d)`. `d` is that of the operands that have a derivative, and the result
# that of `(state, ys)`; or, backward, the other way round.
tangent_p = Primitive("matrix_scan_tangent")
backward_p = Primitive("matrix_scan_backward")


def _forward_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, tree: Any, size: int, save: bool) -> Any:
    state, ys, states = forward_p.bind(*primals, tree=tree, size=size, save=True)
    operands = jax.tree.unflatten(tree, primals)
    d = jax.tree.unflatten(tree, [ad.instantiate_zeros(t) for t in tangents])
    out = bind(tangent_p, (operands, states, _moving(d)), size=size)
    if save:  # derivatives of the other two primitives are programs that do not read the states
        return [state, ys, states], [*out, jnp.zeros_like(states)]
    return [state, ys], out


# --- vmap ----------------------------------------------------------------------------------------------------------


def _axes(ndims: Operands) -> Operands:
    """Returns the axis of the heads in each array, from the numbers of their axes."""
    inputs, *states = ndims
    return Operands(jax.tree.map(lambda n: n - 2, inputs), *jax.tree.map(lambda _: 0, states))


def _batch(
    primitive: Primitive, args: Sequence[Array], dims: Sequence[int | None], *, tree: Any, **static: Any
) -> tuple[list[Array], list[int]]:
    """Makes further heads of a mapped axis."""
    count = next(arg.shape[dim] for arg, dim in zip(args, dims, strict=True) if dim is not None)
    ndims = jax.tree.unflatten(tree, [arg.ndim - (dim is not None) for arg, dim in zip(args, dims, strict=True)])
    results: Any = (0, 1, 0)  # of the state, the outputs and, maybe, states before chunks
    if primitive is forward_p:
        places: Any = _axes(ndims)
    else:
        operands, _, d = ndims
        places = (_axes(operands), 0, _axes(d) if primitive is tangent_p else results[:2])
        results = results if primitive is tangent_p else _axes(_moving(operands))

    def folded(arg: Array, dim: int | None, axis: int) -> Array:
        arg = fold(arg, dim, axis, count)
        return arg.reshape(*arg.shape[:axis], -1, *arg.shape[axis + 2 :])

    given = [folded(*each) for each in zip(args, dims, jax.tree.leaves(places), strict=True)]
    out = primitive.bind(*given, tree=tree, **static)
    axes = jax.tree.leaves(results)[: len(out)]
    return [a.reshape(*a.shape[:n], count, -1, *a.shape[n + 1 :]) for a, n in zip(out, axes, strict=True)], axes


# --- registration --------------------------------------------------------------------------------------------------


def _shapes(primitive: Primitive, *avals: Any, tree: Any, size: int, save: bool = False) -> list[Any]:
    arguments = jax.tree.unflatten(tree, avals)
    if primitive is backward_p:
        return jax.tree.leaves(_moving(arguments[0]))
    inputs, state, _ = arguments if primitive is forward_p else arguments[0]
    total, (heads, *matrix) = inputs.q.shape[0], state.shape
    states = [state.update(shape=(heads, -(-total // size), *matrix))] if save else []
    return [state, state.update(shape=(total, heads, matrix[-1])), *states]


register(forward_p, partial(_shapes, forward_p), matrix_kernel.forward)
register(tangent_p, partial(_shapes, tangent_p), anywhere(_tangent))
register(backward_p, partial(_shapes, backward_p), matrix_kernel.backward)
for _primitive in (forward_p, tangent_p, backward_p):
    batching.primitive_batchers[_primitive] = partial(_batch, _primitive)
ad.primitive_jvps[forward_p] = _forward_jvp
ad.primitive_jvps[tangent_p] = plain_rule(_tangent)
ad.primitive_jvps[backward_p] = plain_rule(_cotangent)
ad.primitive_transposes[tangent_p] = transpose(backward_p, 2, lambda *_, size: jax.tree.structure(((0, 0),)))
ad.primitive_transposes[backward_p] = transpose(
    tangent_p, 2, lambda operands, _, size: jax.tree.structure((_moving(operands),))
)
