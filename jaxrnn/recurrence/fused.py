"""Runs recurrences with one product per step, `r = h U`, then elementwise maths, as three programs in plain JAX.

`forward` is the loop, `tangent` its derivative along a direction, `backward` the transpose of `tangent`. The input's
projection is one product before the loop, the cotangent of each weight one product after it. `primitive.py` makes
one differentiable operation of the three. A recurrence may have a second product, which projects the new state.

All gates are one array, laid as `gates.py` says: first their projected inputs, which the forward loop overwrites with
the sums that `pointwise` saw, which the backward loop overwrites with their cotangents.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.precision import accumulator, outer, product, transposed_product
from jaxrnn.recurrence import kernels
from jaxrnn.recurrence.gates import Gates, Pointwise, Spec, each_gate, laid, meet, side_by_side, split
from jaxrnn.recurrence.loop import hold, scan, select
from jaxrnn.recurrence.rewrite import Loop, after
from jaxrnn.shapes import align
from jaxrnn.sharding import is_placed, laid_as, rows_as, vary, varying
from jaxrnn.types import Array, Carry, Params


class Weights(NamedTuple):
    """`kernel [D, G, H]`, `bias [G, H]` or None, `recurrent` as in `kernels.py`, and `small`, which `pointwise` reads.

    `projection [H, P]`, or None, maps the `h` of `pointwise` to the state, which then is the output, too.
    """

    kernel: Array
    bias: Array | None
    recurrent: Array
    projection: Array | None
    small: Params


class Operands(NamedTuple):
    """The differentiable operands of a recurrence. `fresh` is None without resets, `scale` is `Noise.state`."""

    xs: Array
    weights: Weights
    carry: Carry
    fresh: Carry | None
    scale: Array | None


class Steps(NamedTuple):
    """The bool masks of each step, which have no derivative: see `Flow`, and `Noise.steps`."""

    valid: Array | None
    resets: Array | None
    masks: Any


class Saved(NamedTuple):
    """The checkpoint of each step: the carry before it, and its gates (None: the derivative recomputes them)."""

    carries: Carry
    gates: Gates | None


def project(xs: Array, weights: Weights, dtype: Any) -> tuple[Array, ...]:
    """Returns the part of the gates that needs no carry, an array `[..., H]` in `dtype` per gate."""
    zs = _projected(xs, weights.kernel, weights.bias, dtype).astype(dtype)
    return tuple(zs[..., g, :] for g in range(zs.shape[-2]))


def _projected(xs: Array, kernel: Array, bias: Array | None, dtype: Any) -> Array:
    zs = product(xs, kernel, dtype)
    return zs if bias is None else zs + align(bias.astype(zs.dtype), zs)


def _inputs(spec: Spec, xs: Array, weights: Weights) -> Array:
    """Returns the projected inputs as `spec` lays gates."""
    bias = None if weights.bias is None else laid(spec, weights.bias)
    return _projected(xs, laid(spec, weights.kernel), bias, spec.dtype)


def _cast(projection: Array | None, spec: Spec) -> Array | None:
    """Casts the projection once before a loop, as `kernels.cast` does."""
    return None if projection is None else projection.astype(spec.dtype)


def _entering(h: Array, scale: Array | None) -> Array:
    """Applies the dropout mask, one per sequence for all steps, to the state before the recurrent product."""
    return h if scale is None else h * align(scale, h)


def step(spec: Spec, weights: Weights, carry: Carry, zs: tuple[Array, ...], scale: Array | None) -> tuple[Carry, Array]:
    """Runs one step from its projected input, which defines the recurrence."""
    carry = rows_as(carry, zs[0])
    return rest(spec, weights, carry, gates(spec, weights, carry, zs, scale))


def gates(spec: Spec, weights: Weights, carry: Carry, zs: tuple[Array, ...], scale: Array | None) -> tuple[Any, ...]:
    """Returns the gates of one step, as `pointwise` takes them."""
    r = kernels.through(weights.recurrent, spec.dtype, flat=spec.flat)(_entering(carry.h, scale))
    zs = tuple(z.astype(accumulator(spec.dtype)) for z in zs)
    pairs = enumerate(zip(zs, split(spec, r, spec.gates), strict=True))
    return tuple((z, r) if g in spec.paired else z + r for g, (z, r) in pairs)


def rest(spec: Spec, weights: Weights, carry: Carry, each: tuple[Any, ...]) -> tuple[Carry, Array]:
    """Returns the carry and output of one step from its gates."""
    new, out, _ = elementwise(spec, weights.small, weights.projection, carry, each, Steps(None, None, None))
    return new, out


def elementwise(
    spec: Spec,
    small: Params,
    projection: Array | None,
    carry: Carry,
    each: tuple[Any, ...],
    at_t: Steps,
    nudge: Array | None = None,
) -> tuple[Carry, Any, Array]:
    """Runs a step after its recurrent product; returns `(carry, y, h of pointwise)`.

    `nudge` is added to the projected state, so that both have the same cotangent.
    """
    new, y = _by_row(spec.pointwise, small, carry, each)
    made = new.h
    if projection is not None:
        y = product(made, projection, spec.dtype)
        y = y if nudge is None else y + nudge
        new = new._replace(h=y)
    return *finish(spec, carry, new, y, at_t), made


def finish(spec: Spec, carry: Carry, new: Carry, y: Array, at_t: Steps) -> tuple[Carry, Any]:
    """Returns the carry and output of one step from the new state and output: `then`, and what an invalid step does."""
    y = y.astype(spec.dtype)
    if spec.then is not None:
        new, y = spec.then(carry, new, y, at_t.masks)
    return hold(at_t.valid, carry, new, y)


def _by_row(pointwise: Pointwise, small: Params, carry: Carry, each: tuple[Any, ...]) -> tuple[Carry, Array]:
    """Calls `pointwise` per sequence, so that its parameters have as many axes as its carry."""
    if jax.tree.leaves(small):
        for _ in range(carry.h.ndim - 1):
            pointwise = jax.vmap(pointwise, in_axes=(None, 0, 0))
    return pointwise(small, carry, each)


def forward(spec: Spec, operands: Operands, steps: Steps, *, save: bool, loop: Loop) -> tuple[Carry, Any, Saved | None]:
    """Returns `(carry, ys, saved)`."""
    weights = operands.weights
    through = kernels.through(weights.recurrent, spec.dtype, flat=spec.flat)
    wide = accumulator(spec.dtype)
    bias = None if weights.bias is None else laid(spec, weights.bias).astype(wide)
    projection = _cast(weights.projection, spec)

    def body(rows: Any, carry: Carry, z: Array, at_t: Steps) -> tuple[Carry, Array | None, Any]:
        fresh, scale = rows
        if at_t.resets is not None:
            carry = select(at_t.resets, fresh, carry)
        z_and_bias = z.astype(wide) if bias is None else z.astype(wide) + align(bias, z)
        gates = meet(spec, z_and_bias, through(_entering(carry.h, scale)))
        new, y, _ = elementwise(spec, weights.small, projection, carry, each_gate(spec, gates), at_t)
        if not save:
            return new, None, (y, None, None)
        gates = jax.tree.map(lambda g: g.astype(z.dtype), gates)
        return new, gates.sums, (y, carry, gates.states)

    # The loop adds the bias: here it would be one more pass over the largest array.
    zs = product(operands.xs, laid(spec, weights.kernel), spec.dtype).astype(spec.dtype)
    rows = (operands.fresh, operands.scale)
    carry, sums, (ys, carries, states) = loop(body, rows, operands.carry, zs, steps, unroll=spec.unroll)
    return carry, ys, Saved(carries, Gates(sums, states)) if save else None


def with_gates(spec: Spec, operands: Operands, saved: Saved) -> Saved:
    """Returns `saved` with its gates, recomputed in one product if they were not stored."""
    if saved.gates is not None:
        return saved
    through = kernels.through(operands.weights.recurrent, spec.dtype, flat=spec.flat)
    zs = _inputs(spec, operands.xs, operands.weights)
    gates = meet(spec, zs, through(_entering(saved.carries.h, operands.scale)))
    return saved._replace(gates=jax.tree.map(lambda g: g.astype(spec.dtype), gates))


def tangent(spec: Spec, operands: Operands, steps: Steps, saved: Saved, d: Operands) -> tuple[Carry, Any]:
    """Returns `(d carry, d ys)`, the derivative of `forward` along `d`, linear in `d`."""
    weights, dw, hs = operands.weights, d.weights, saved.carries.h
    through = kernels.through(weights.recurrent, spec.dtype, flat=spec.flat)
    dzs = _inputs(spec, operands.xs, dw) + product(d.xs, laid(spec, weights.kernel), spec.dtype)
    drs = kernels.through(dw.recurrent, spec.dtype, flat=spec.flat)(_entering(hs, operands.scale))
    if d.scale is not None:
        drs = drs + through(_entering(hs, d.scale))
    saved = with_gates(spec, operands, saved)
    projection, dprojection = _cast(weights.projection, spec), _cast(dw.projection, spec)

    def body(dcarry: Carry, at: Any) -> tuple[Carry, Any]:
        dz, dr, carry, gates, at_t = at
        if at_t.resets is not None:
            dcarry = select(at_t.resets, d.fresh, dcarry)
        dgates = meet(spec, dz, dr + through(_entering(dcarry.h, operands.scale)))

        def local(small: Params, projection: Array | None, carry: Carry, each: Any) -> tuple[Carry, Any]:
            return elementwise(spec, small, projection, carry, each, at_t)[:2]

        primals = (weights.small, projection, carry, each_gate(spec, gates))
        return jax.jvp(local, primals, (dw.small, dprojection, dcarry, each_gate(spec, dgates)))[1]

    at = (dzs, drs, saved.carries, saved.gates, steps)
    return scan(body, d.carry, at, unroll=spec.unroll)


def backward(
    spec: Spec, operands: Operands, steps: Steps, saved: Saved, dcarry: Carry, dys: Any, *, loop: Loop
) -> Operands:
    """Transposes `tangent`: returns the cotangents of the operands from those of `carry` and `ys`."""
    xs, weights, scale = operands.xs, operands.weights, operands.scale
    back = kernels.back(weights.recurrent, spec.dtype, flat=spec.flat, by_mosaic=spec.method == "kernel")
    batch = xs.shape[1:-1]
    # Small parameters get a cotangent per sequence, summed once after the loop: a sum in every step costs more.
    row = jnp.zeros_like(dcarry.h.sum(-1))  # it has the sharding of the batch

    def for_each_row(p: Array) -> Array:
        zero = row.reshape(batch + (1,) * p.ndim).astype(p.dtype)
        return align(p, zero) + zero

    small = jax.tree.map(for_each_row, weights.small)
    projection = _cast(weights.projection, spec)

    def one_row(small: Params, carry: Carry, each: tuple[Any, ...], nudge: Array | None, at_t: Steps) -> Any:
        new, y, made = elementwise(spec, small, projection, carry, each, at_t, nudge)
        return (new, y), made

    def body(rows: Any, state: Any, gates: Gates, at: Any) -> tuple[Any, Gates, Any]:
        small, scale = rows
        dcarry, dsmall, dfresh, dscale = state
        dy, carry, at_t = at
        # `nudge` is 0: only its cotangent, that of the projected state, is used.
        nudge = None if projection is None else jnp.zeros_like(dcarry.h)
        local: Any = one_row
        if jax.tree.leaves(small):
            for _ in range(carry.h.ndim - 1):  # a loop may have made one batch axis of all
                local = jax.vmap(local)
        primals = (small, carry, each_gate(spec, gates), nudge)
        _, pull, made = jax.vjp(lambda *primals: local(*primals, at_t), *primals, has_aux=True)
        dsmall_t, before, each, dprojected = pull((dcarry, dy))
        dgates, dr = side_by_side(spec, each, gates.sums.dtype)
        dentering = back(dr)
        before = before._replace(h=before.h + _entering(dentering, scale))
        if at_t.resets is not None:
            zero = jax.tree.map(jnp.zeros_like, before)
            dfresh = jax.tree.map(jnp.add, dfresh, select(at_t.resets, before, zero))
            before = select(at_t.resets, zero, before)
        dsmall = jax.tree.map(jnp.add, dsmall, dsmall_t)
        dscale = None if scale is None else dscale + dentering * carry.h
        return (before, dsmall, dfresh, dscale), dgates, None if nudge is None else (made, dprojected)

    zeros = jax.tree.map(jnp.zeros_like, (small, operands.fresh, scale))
    (dcarry, dsmall, dfresh, dscale), dgates, projections = loop(
        body,
        (small, scale),
        vary((dcarry, *zeros), varying(dys)),
        saved.gates,
        (dys, saved.carries, steps),
        reverse=True,
        unroll=spec.unroll,
    )
    hs = saved.carries.h
    if not is_placed((dcarry, xs)):  # explicit mode cannot slice features that lie on several devices
        # XLA transposes these factors; before the loop that would keep the copies in memory all through it.
        ready = dcarry.h[..., :1]
        operands, hs = operands._replace(xs=after(ready, xs)), after(ready, hs)
    small = jax.tree.map(lambda s: s.sum(tuple(range(len(batch)))), dsmall)
    dxs, dweights = of_products(spec, operands, hs, dgates, projections, small)
    return like(operands, Operands(dxs, dweights, dcarry, dfresh, dscale))


def of_products(
    spec: Spec, operands: Operands, hs: Array, dgates: Gates, projections: tuple[Array, Array] | None, small: Params
) -> tuple[Array, Weights]:
    """Returns the cotangents of the inputs and of the weights from those of the gates, one product each.

    `projections` holds the states before the projection, and the cotangents after it. `small` is a part of the result.
    """
    weights, dz, over = operands.weights, dgates.sums, tuple(range(operands.xs.ndim - 1))
    dweights = Weights(
        kernel=outer(operands.xs, dz, spec.dtype),
        bias=None if weights.bias is None else dz.sum(over, dtype=accumulator(spec.dtype)),
        recurrent=_recurrent_cotangent(spec, weights.recurrent, _entering(hs, operands.scale), dgates),
        projection=None if projections is None else outer(*projections, spec.dtype),
        small=small,
    )
    return transposed_product(dz, laid(spec, weights.kernel), spec.dtype), dweights


def like(operands: Operands, cotangents: Operands) -> Operands:
    """Returns the cotangents in the shapes, dtypes and shardings of the operands."""

    def leaf(cotangent: Array, primal: Array) -> Array:
        return laid_as(cotangent.reshape(primal.shape).astype(primal.dtype), jax.typeof(primal))

    return jax.tree.map(leaf, cotangents, operands)


def _recurrent_cotangent(spec: Spec, kernel: Array, hs: Array, dgates: Gates) -> Array:
    """Returns the recurrent kernel's cotangent from those of `z + r`, and for paired gates from those of `r`."""
    whole = kernels.cotangent(kernel, hs, dgates.sums, spec.dtype, flat=spec.flat)
    if dgates.states is None:
        return whole
    pairs = kernels.cotangent(kernel, hs, dgates.states, spec.dtype, flat=spec.flat)
    parts = jnp.split(whole, spec.gates, axis=-2)
    for g, part in zip(spec.paired, jnp.split(pairs, len(spec.paired), axis=-2), strict=True):
        parts[g] = part
    return jnp.concatenate(parts, axis=-2)
