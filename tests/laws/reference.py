"""What the laws are measured by: a cell by Python loops over rows and steps, and derivatives of every output."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from interpreted import simulated
from laws.cells import batch_of, make, space_of
from quick import jit


def definition(name: str, *, reverse: bool = False) -> Callable[..., Any]:
    """The meaning of `unroll` without masks, selects or scans: each row alone, each of its sequences alone.

    An invalid step is not taken; a step that enters another sequence starts from the cell's own initial carry. Where
    inputs carry times, each step has the time since the one that was taken before it.
    """
    cell, step = make(name), _step(name)

    def run(params: Any, xs: Any, carry: Any, mask: Any, resets: Any) -> Any:
        total, batch, space = xs.shape[0], batch_of(name, xs), space_of(name)
        rows = list(np.ndindex(batch))
        fresh, silent = cell.init_carry(params, space), jnp.zeros(*_output(name, params, xs))
        inputs, carries = _taken_apart(xs, carry, batch)
        outputs = [[silent] * total for _ in rows]
        sequences = np.cumsum(resets, axis=0)
        for i, row in enumerate(rows):
            here, last = sequences[(-1, *row)] if reverse and total else 0, None
            gaps = [x[..., -1] for x in inputs[i]]
            for t in reversed(range(total)) if reverse else range(total):
                if sequences[(t, *row)] != here:
                    here, carries[i], last = sequences[(t, *row)], fresh, None
                if mask[(t, *row)]:
                    x = inputs[i][t]
                    if cell.timed:
                        elapsed = _elapsed(gaps, t, last, reverse=reverse)
                        x = jnp.concatenate([x[..., :-1], elapsed[..., None]], -1)
                    carries[i], outputs[i][t] = step(params, carries[i], x)
                    last = t
        return _put_together(carries, outputs, batch) if total else (carry, jnp.zeros((0, *batch, *silent.shape)))

    return run


def _elapsed(gaps: list[Any], t: int, last: int | None, *, reverse: bool) -> Any:
    """The time from step `last` to step `t`, in either direction; of a first step, what it is given or nothing."""
    if last is None:
        return 0 * gaps[t] if reverse else gaps[t]
    between = gaps[t + 1 : last + 1] if reverse else gaps[last + 1 : t + 1]
    return sum(between[1:], between[0])


@cache
def _step(name: str) -> Callable[..., Any]:
    cell = make(name)
    return jax.jit(lambda params, carry, x: cell.step(params, carry, cell.project(params, x)))


def _output(name: str, params: Any, xs: Any) -> Any:
    carry = make(name).init_carry(params, space_of(name))
    x = jax.ShapeDtypeStruct((*space_of(name), xs.shape[-1]), xs.dtype)
    y = jax.eval_shape(_step(name), params, carry, x)[1]
    return y.shape, y.dtype


@partial(jax.jit, static_argnums=2)
def _taken_apart(xs: Any, carry: Any, batch: tuple[int, ...]) -> Any:
    rows = list(np.ndindex(batch))
    inputs = [[xs[(t, *row)] for t in range(xs.shape[0])] for row in rows]
    return inputs, [jax.tree.map(lambda leaf, row=row: leaf[row], carry) for row in rows]


@partial(jax.jit, static_argnums=2)
def _put_together(carries: Any, outputs: Any, batch: tuple[int, ...]) -> Any:
    carry = jax.tree.map(lambda *leaves: jnp.stack(leaves).reshape(*batch, *leaves[0].shape), *carries)
    ys = jnp.stack([jnp.stack(row) for row in outputs], axis=1)
    return carry, ys.reshape(ys.shape[0], *batch, *ys.shape[2:])


def unrolled(name: str, method: str, **options: Any) -> Callable[..., Any]:
    """`jaxrnn.unroll` with the arguments of `definition`."""

    def run(params: Any, xs: Any, carry: Any, mask: Any = None, resets: Any = None) -> Any:
        return jaxrnn.unroll(make(name), params, xs, carry, mask=mask, resets=resets, method=method, **options)

    return run


def with_gradients(run: Callable[..., Any], weights: Callable[[Any], Any] | None = None) -> Callable[..., Any]:
    """`run(params, xs, carry, *rest) -> (carry, ys)` with its gradients, given cotangents on all that it returns."""
    weights = weights or cotangent

    def scalar(params: Any, xs: Any, part: Any, carry: Any, *rest: Any) -> Any:
        out = run(params, xs, together(part, carry), *rest)
        return sum(jnp.vdot(weights(leaf), leaf).astype(float) for leaf in jax.tree.leaves(out)), out

    def everything(params: Any, xs: Any, carry: Any, *rest: Any) -> Any:
        derive = jax.grad(scalar, argnums=(0, 1, 2), has_aux=True)
        grads, (carry, ys) = derive(params, xs, floating(carry), carry, *rest)
        return {"carry": carry, "ys": ys} | dict(zip(("d_params", "d_xs", "d_carry"), grads, strict=True))

    return everything


def definition_of_few_steps(name: str, args: Any, flow: Any, *, reverse: bool = False) -> Any:
    """`definition` with its gradients as one program, which costs less than its steps do where few are taken."""
    run = with_gradients(definition(name, reverse=reverse))
    return jit(lambda *args: run(*args, *flow))(*args)


def entry(tree: Any, index: Any) -> Any:
    """`leaf[index]` of every leaf, by NumPy, which compiles nothing."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def stacked(trees: list[Any]) -> Any:
    """One tree of several alike, along a leading axis, by NumPy."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


# How `vmap` takes the rows of a batch.
ROWS: dict[str, Any] = {
    "in_axes": (None, 1, 0, 1, 1),
    "out_axes": (0, 1),
}  # params are shared; time leads, the carry has none


def row(args: Any, b: int) -> Any:
    """The arguments of `definition` for one row."""
    params, xs, carry, mask, resets = args
    return params, xs[:, b], entry(carry, b), mask[:, b], resets[:, b]


def cast(tree: Any, dtype: Any) -> Any:
    """All but the integers in another dtype, by NumPy, which compiles nothing."""

    def leaf(a: Any) -> Any:
        return np.asarray(a).astype(dtype) if jnp.issubdtype(a.dtype, jnp.inexact) else np.asarray(a)

    return jax.tree.map(leaf, tree)


def floating(tree: Any) -> Any:
    """The leaves that have a derivative, and None for the others."""
    return jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, tree)


def together(part: Any, tree: Any) -> Any:
    """The leaves of `part`, a tree from `floating`, and in place of None those of `tree`."""
    return jax.tree.map(lambda own, other: other if own is None else own, part, tree, is_leaf=lambda x: x is None)


def cotangent(leaf: Any) -> Any:
    """Fixed numbers of the leaf's shape, without symmetry."""
    return np.cos(1.0 + np.arange(leaf.size)).reshape(leaf.shape).astype(leaf.dtype)


def repeated_cotangent(leaf: Any) -> Any:
    """The same `cotangent` for each entry of a leading axis."""
    return jnp.broadcast_to(cotangent(leaf[0])[None], leaf.shape)


def compiled(name: str, method: str, *, reverse: bool = False, **options: Any) -> Callable[..., Any]:
    """`unrolled` with its gradients as arrays of NumPy, compiled once for all tests that ask for it."""
    return _compiled(name, method, reverse=reverse, **options)


@cache
def _compiled(name: str, method: str, **options: Any) -> Callable[..., Any]:
    run = jit(with_gradients(unrolled(name, method, **options)))
    run = simulated(run) if method == "kernel" else run
    return lambda *args: jax.tree.map(np.asarray, run(*args))
