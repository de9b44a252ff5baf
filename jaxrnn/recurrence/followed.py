"""`followed` returns a cell that applies a function after each step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.step_keys import step_keys
from jaxrnn.types import Array, Carry, Cell, Flow, Layer, Noise, Params

Drawn = tuple[Cell, Params, Noise | None]  # what `Cell.draw` returns


def followed(
    cell: Cell,
    then: Callable[[Carry, Carry, Any, Any], tuple[Carry, Any]],
    sample: Callable[[Array, Params, tuple[int, ...]], Any] | None = None,
) -> Cell:
    """Returns `cell` with `then(before, carry, y, masks) -> (carry, y)` after each step, for each sequence alone.

    `sample(key, params, batch)` draws the masks of one step, bool `[*batch, ...]`; without a draw they are None. The
    fused engine applies `then` inside its loop; other cells run in the plain loop.
    """

    def step(params: Params, carry: Carry, z: Any, noise: Noise | None = None) -> tuple[Carry, Any]:
        masks, rest = None, noise
        if sample is not None and noise is not None:
            masks, rest = noise.steps[-1], noise._replace(steps=noise.steps[:-1])
        silent = rest is None or (not rest.steps and rest.state is None)
        new, y = cell.step(params, carry, z) if silent else cell.step(params, carry, z, rest)
        return then(carry, new, y, masks)

    run = cell.scan if "fused" in cell.methods else None

    def scan(params: Params, carry: Carry, xs: Array, flow: Flow, **how: Any) -> tuple[Carry, Any]:
        assert run is not None  # or there would be no scan

        def both(before: Carry, new: Carry, y: Any, steps: Any) -> tuple[Carry, Any]:
            masks = None
            if sample is not None and steps is not None:
                masks, steps = steps[0], steps[1:]
            new, y = then(before, new, y, masks)
            return (new, y) if flow.then is None else flow.then(before, new, y, steps)

        return run(params, carry, xs, flow._replace(then=both), **how)

    def draw(key: Array, params: Params, shape: tuple[int, ...], first: Array | int = 0) -> Drawn:
        k_inner, k_own = jax.random.split(key)
        inner, drawn, noise = drawn_from(cell, k_inner, params, shape, first)
        if sample is not None:
            masks = jax.vmap(lambda k: sample(k, params, shape[1:]))(step_keys(k_own, first, shape[0]))
            noise = Noise() if noise is None else noise
            noise = noise._replace(steps=(*noise.steps, masks))
        return followed(inner, then, sample), drawn, noise

    parts = cell.gates

    def gates(params: Params, carry: Carry, z: Any) -> Any:
        assert parts is not None  # or there would be no gates
        known, rest = parts(params, carry, z)
        return known, lambda carry: then(carry, *rest(carry), None)

    return cell._replace(
        step=step,
        scan=None if run is None else scan,
        methods=cell.methods if run is not None else ("scan",),
        draw=None if cell.draw is None and sample is None else draw,
        gates=None if parts is None else gates,
        splits=False,
    )


def drawn_from(cell: Cell, key: Array, params: Params, shape: tuple[int, ...], first: Array | int = 0) -> Drawn:
    """Returns `cell.draw(key, params, shape, first)`, or for a cell without randomness the cell itself."""
    return (cell, params, None) if cell.draw is None else cell.draw(key, params, shape, first)


def surrounding(
    cell: Cell,
    again: Callable[[Cell], Cell],
    *,
    init_carry: Callable[..., Carry],
    project: Callable[..., Any],
    step: Callable[..., tuple[Carry, Any]],
) -> Cell:
    """Returns a cell of these functions around `cell`, whose parameters are under `"cell"`; it runs in the plain loop.

    The layer around it draws the parameters. `again` makes the same of the cell that a draw of `cell` returns.
    """

    def draw(key: Array, params: Params, shape: tuple[int, ...], first: Array | int = 0) -> Drawn:
        drawn, inner, noise = drawn_from(cell, key, params["cell"], shape, first)
        return again(drawn), params | {"cell": inner}, noise

    own = None if cell.draw is None else draw
    return Cell(cell.init, init_carry, project, step, None, "dense", draw=own, timed=cell.timed)


def carry_shapes(cell: Cell, params: Params, batch: tuple[int, ...] = ()) -> Carry:
    """Returns the carry of `cell` as shapes."""
    return jax.eval_shape(lambda p: cell.init_carry(p, batch), params)


def floating_fields(carry: Carry) -> tuple[str, ...]:
    """Returns the fields of a carry that can be learned or averaged: all but integers and bools."""
    return tuple(f for f in carry._fields if jnp.issubdtype(jnp.result_type(getattr(carry, f)), jnp.inexact))


def input_shape(model: Cell | Layer, in_features: int | None) -> tuple[int, ...]:
    """Returns the shape of one input for programs that are only traced, with images larger than any kernel."""
    return () if in_features is None else (*[1 << 10] * (model.num_feature_axes - 1), in_features)
