"""Runs a recurrence whose state is a matrix in the way that is faster on the platform.

Lowering decides: only then is the platform known, and one program may be for several. On the CPU, with a decay per
channel, the forward pass runs step by step, which is faster there; the derivative runs in chunks, because it then
stores one state per chunk. This is a primitive, because `jax.custom_jvp` under `vmap` gives wrong numbers if a function
and its rule leave the mapped axis of the results in different places.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxrnn.recurrence.chunkwise import Inputs, chunked, stepwise
from jaxrnn.recurrence.primitive import register, types_of
from jaxrnn.sharding import vary, varying
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

CPU_CHUNK = 32  # longer chunks are slower there


def quickest(inputs: Inputs, state: Array, fresh: Array | None, chunk: int) -> tuple[Array, Array]:
    """Runs in chunks of `chunk` steps; on the CPU in shorter ones, or step by step."""
    if inputs.log_decay is None or inputs.log_decay.shape[-1] == 1:
        return _by_chunks(inputs, state, fresh, chunk)
    leaves, tree = jax.tree.flatten((inputs, state, fresh))
    last, ys = quickest_p.bind(*vary(leaves, varying(leaves)), tree=tree, chunk=chunk)
    return last, ys


@partial(jax.jit, static_argnums=3)
def _by_chunks(inputs: Inputs, state: Array, fresh: Array | None, chunk: int) -> tuple[Array, Array]:
    total = inputs.q.shape[0]
    size = min(chunk, total) if is_known(total) else chunk
    if size <= CPU_CHUNK:
        return chunked(inputs, state, fresh, size)
    ways = {"cpu": partial(chunked, size=CPU_CHUNK), "default": partial(chunked, size=size)}
    return lax.platform_dependent(inputs, state, fresh, **ways)


# Its operands are the leaves of `(inputs, state, fresh)`, whose structure is `tree`; its results `(state, ys)`.
quickest_p = Primitive("matrix_scan")


def _steps(*leaves: Array, tree: Any, chunk: int) -> tuple[Array, Array]:
    del chunk
    return stepwise(*jax.tree.unflatten(tree, leaves))


def _chunks(*leaves: Array, tree: Any, chunk: int) -> tuple[Array, Array]:
    return _by_chunks(*jax.tree.unflatten(tree, leaves), chunk)


def _lowered(*leaves: Array, platform: str | None, **how: Any) -> tuple[Array, Array]:
    return (_steps if platform == "cpu" else _chunks)(*leaves, **how)


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], **how: Any) -> Any:
    """Differentiates the run in chunks, along the tangents that are not zero."""
    moving = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

    def of_moving(*leaves: Array) -> tuple[Array, Array]:
        args = dict(enumerate(primals)) | dict(zip(moving, leaves, strict=True))
        return _chunks(*args.values(), **how)

    return jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])


def _batch(leaves: Sequence[Array], dims: Sequence[int | None], *, tree: Any, chunk: int) -> tuple[Any, list[int]]:
    """Makes a mapped axis the first batch axis, and broadcasts operands without one."""
    size = next(leaf.shape[dim] for leaf, dim in zip(leaves, dims, strict=True) if dim is not None)
    after_time = set(jax.tree.leaves(jax.tree.unflatten(tree, range(len(leaves)))[0]))

    def placed(leaf: Array, dim: int | None, axis: int) -> Array:
        if dim is not None:
            return jnp.moveaxis(leaf, dim, axis)
        return jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*leaf.shape[:axis], size, *leaf.shape[axis:]))

    pairs = enumerate(zip(leaves, dims, strict=True))
    folded = [placed(leaf, dim, 1 if i in after_time else 0) for i, (leaf, dim) in pairs]
    return quickest_p.bind(*folded, tree=tree, chunk=chunk), [0, 1]


register(quickest_p, types_of(_steps), _lowered)
ad.primitive_jvps[quickest_p] = _jvp
batching.primitive_batchers[quickest_p] = _batch
