"""Measures the cells inside a model at every step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from jaxrnn.diagnose.walk import Walk, after, start
from jaxrnn.recurrence.loop import silence
from jaxrnn.types import Array, Carry, Cell, Inside, Layer

Measured = dict[str, Array]  # by name, `[*batch, H]`


@partial(jax.jit, static_argnames=("model", "of"))
def means(model: Cell | Layer, run: Walk, of: Callable[[Inside], Measured]) -> Any:
    """Returns the means over the valid steps of what `of` says about each cell, by layer.

    A tuple stands for a stack, `()` for a layer without a cell and for one of which `of` says nothing, `{}`.
    """

    def body(carry: Carry, at_t: Any) -> tuple[Carry, Any]:
        x, valid, reset = at_t
        carry = start(model, run, carry, x, reset)
        found = _each(of, _inside(model, run, carry, x))
        return after(model, run, carry, x, valid)[0], found

    _, found = jax.lax.scan(body, run.carry, (run.xs, run.valid, run.resets))
    if run.valid is None:
        return jax.tree.map(lambda leaf: leaf.mean(0), found)
    count = run.valid.sum(0)[..., None]
    return jax.tree.map(lambda leaf: silence(run.valid, leaf).sum(0) / count.astype(leaf.dtype), found)


def _inside(model: Cell | Layer, run: Walk, carry: Carry, x: Array) -> Any:
    if isinstance(model, Cell):
        return Inside(model, run.params, carry, x)
    return () if model.inside is None else model.inside(run.params, carry, x, run.context)


def _each(of: Callable[[Inside], Measured], parts: Any) -> Any:
    return tuple(_each(of, part) for part in parts) if type(parts) is tuple else of(parts) or ()


def check_any(where: str, model: Cell | Layer, found: Any, what: str) -> None:
    """Checks that some cell of the model has what was asked for."""
    if not jax.tree.leaves(found):
        raise ValueError(
            f"{where}: model is {model!r}, none of whose cells has {what}, expected one such as jaxrnn.lstm"
        )
