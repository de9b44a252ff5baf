"""The state of a model as one vector for each sequence, and the derivative of a step in it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.diagnose.walk import Walk, after, batch_axes, parted
from jaxrnn.types import Array, Carry, Cell, Layer


def flat(carry: Carry, axes: int) -> tuple[Array, Callable[[Array], Carry]]:
    """Returns the floating numbers of a carry, `[*batch, n]`, and a function that puts others in their place.

    `axes` is the number of batch axes. A complex number counts as two.
    """
    leaves, rebuilt = parted(carry)
    parts = [part for leaf in leaves for part in _parts(leaf)]
    shapes = [part.shape for part in parts]
    rows = [part.reshape(*part.shape[:axes], -1) for part in parts]
    ends = np.cumsum([row.shape[-1] for row in rows])

    def back(vector: Array) -> Carry:
        pieces = iter(p.reshape(s) for p, s in zip(jnp.split(vector, ends[:-1], -1), shapes, strict=True))
        return rebuilt([_number(leaf, pieces) for leaf in leaves])

    wide = jnp.result_type(*rows)
    return jnp.concatenate([row.astype(wide) for row in rows], -1), back


def _parts(leaf: Array) -> tuple[Array, ...]:
    return (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)


def _number(leaf: Array, pieces: Iterator[Array]) -> Array:
    made = next(pieces)
    return (jax.lax.complex(made, next(pieces)) if jnp.iscomplexobj(leaf) else made).astype(leaf.dtype)


def size_of(where: str, model: Cell | Layer, run: Walk) -> int:
    """Returns n, the size of the state of one sequence, after checking that there is a state."""
    if not parted(run.carry)[0]:
        raise ValueError(f"{where}: model is {model!r}, which has no floating state, expected a recurrence")
    return jax.eval_shape(lambda carry: flat(carry, batch_axes(model, run.xs))[0], run.carry).shape[-1]


def linearized(model: Cell | Layer, run: Walk, carry: Carry, x: Array) -> tuple[Carry, Callable[[Array], Array]]:
    """Returns the carry after a step, and the product of the step's Jacobian with a vector `[*batch, n]`.

    A step acts on each sequence alone, so that one vector for each of them takes one product for all.
    """
    axes = batch_axes(model, run.xs)
    state, back = flat(carry, axes)

    def step(state: Array) -> tuple[Array, Any]:
        new, _ = after(model, run, back(state), x)
        return flat(new, axes)[0], new

    _, push, new = jax.linearize(step, state, has_aux=True)
    return new, push
