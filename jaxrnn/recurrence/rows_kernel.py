"""Runs `fused.forward` and `fused.backward` with their loop as one GPU kernel, for states that one block can hold.

Each program of the kernel has some rows of the batch and reads the recurrent kernel in every step, so it is for many
rows and few features. `pointwise` and its derivative are traced inside. Only the recurrent product and that with the
projection are inside, too: the others are those of `fused.py`.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence import fused, kernels, padding, row_blocks
from jaxrnn.recurrence.fused import Operands, Saved, Steps
from jaxrnn.recurrence.gates import Gates, Spec, flat
from jaxrnn.recurrence.loop import select
from jaxrnn.recurrence.rewrite import anew
from jaxrnn.recurrence.row_limits import Layout, layout, local
from jaxrnn.types import Array, Carry


class Shared(NamedTuple):
    """The arrays that all rows read, with padded features.

    Attributes:
      recurrent: `[S, G, H]`, and transposed `[H, G, S]` in the backward loop; `[G, H]` if diagonal.
      projection: `[H, 1, P]`, or None.
      turned: `[P, 1, H]`, its transpose, in the backward loop.
      bias: `[G, H]`, or None.
      values: what `pointwise` reads of the parameters.
    """

    recurrent: Any
    projection: Any
    turned: Any
    bias: Any
    values: Any


class ByRow(NamedTuple):
    """`Operands.fresh` and `Operands.scale`."""

    fresh: Any
    scale: Any


def forward(spec: Spec, operands: Operands, steps: Steps, *, save: bool) -> tuple[Carry, Any, Saved | None]:
    """Returns `(carry, ys, saved)`, as `fused.forward`."""
    if 0 in operands.xs.shape[:-1]:
        return fused.forward(spec, operands, steps, save=save, loop=anew)
    place, own = layout(spec, operands), local(spec, operands, steps)
    wide, features, state = accumulator(spec.dtype), *_widths(operands)
    weights = padding.weights(operands.weights)
    xs = padding.rows(operands.xs, 1, place.batch, place.rows, wide=False)
    zs = product(xs, flat(weights.kernel), spec.dtype).astype(spec.dtype)
    zs = zs.reshape(*zs.shape[:2], *weights.kernel.shape[1:])
    shared = Shared(
        recurrent=kernels.cast(weights.recurrent, spec.dtype),
        projection=None if weights.projection is None else weights.projection[:, None].astype(spec.dtype),
        turned=None,
        bias=None if weights.bias is None else weights.bias.astype(wide),
        values=padding.grown_to(own.pointwise.values, own.known(weights.small)),
    )

    def body(shared: Shared, by_row: ByRow, carry: Carry, at: Any, row: Array) -> tuple[Carry, Any, tuple[()]]:
        zs, at_t = at
        if at_t.resets is not None:
            carry = select(at_t.resets, _read(by_row.fresh), carry)
        h = padding.inside(carry.h, state)
        h = h if by_row.scale is None else h * by_row.scale[...]
        sums, states = [], []
        for g, z in enumerate(zs):
            r = _through(spec, h, shared.recurrent, g)
            z = z.astype(wide) if shared.bias is None else z.astype(wide) + shared.bias[g][None]
            sums.append(z if g in spec.paired else z + r)
            states += [r] if g in spec.paired else []
        new, y = jax.vmap(own.pointwise.rest, (None, 0, 0))(_read(shared.values), carry, _each(spec, sums, states))
        if shared.projection is not None:
            y = row_blocks.product(padding.inside(new.h, features), shared.projection, 0, spec.dtype)
            new = new._replace(h=y)
        after, y = fused.finish(own.spec, carry, new, y, at_t)
        return after, (y, Saved(carry, Gates(*_stored(spec, sums, states))) if save else None), ()

    last, (ys, saved), _ = row_blocks.scan(
        body,
        shared,
        _by_row(place, operands),
        padding.rows(operands.carry, 0, place.batch, place.rows),
        (zs, padding.rows(steps, 1, place.batch, place.rows)),
        block=place.block,
        reverse=False,
        name="recurrence",
    )
    like = jax.eval_shape(partial(fused.forward, spec, save=save, loop=anew), operands, steps)
    carry = padding.cropped(last, like[0], 0, place.batch)
    ys = padding.cropped(ys, like[1], 1, place.batch)
    if saved is None:
        return carry, ys, None
    carries = padding.cropped(saved.carries, like[2].carries, 1, place.batch)
    return carry, ys, Saved(carries, _side_by_side(place, saved.gates, features))


def backward(spec: Spec, operands: Operands, steps: Steps, saved: Saved, dcarry: Carry, dys: Any) -> Operands:
    """Returns the cotangents of the operands, as `fused.backward`."""
    if 0 in operands.xs.shape[:-1]:
        return fused.backward(spec, operands, steps, saved, dcarry, dys, loop=anew)
    place, own = layout(spec, operands), local(spec, operands, steps)
    wide, features, state = accumulator(spec.dtype), *_widths(operands)
    weights = padding.weights(operands.weights)
    recurrent = kernels.cast(weights.recurrent, spec.dtype)
    projection = None if weights.projection is None else weights.projection[:, None].astype(spec.dtype)
    known, pull_known = jax.vjp(own.known, weights.small)
    shared = Shared(
        recurrent=recurrent if recurrent.ndim == 2 else recurrent.transpose(2, 1, 0),
        projection=projection,
        turned=None if projection is None else projection.transpose(2, 1, 0),
        bias=None,
        values=padding.grown_to(own.pointwise.values, known),
    )

    def body(shared: Shared, by_row: ByRow, state_t: Any, at: Any, row: Array) -> tuple[Any, Any, Any]:
        dcarry, dfresh, dscale = state_t
        dy, carry, gates, at_t = at
        each = _each(spec, [g.astype(wide) for g in gates.sums], [r.astype(wide) for r in gates.states or []])
        # A cotangent for each row, so that the sum can leave out padded rows, whose derivatives may not be finite.
        values = [jnp.broadcast_to(v[None], (len(row), *v.shape)) for v in _read(shared.values)]
        (new, y), pull = jax.vjp(jax.vmap(own.pointwise.rest), values, carry, each)
        made = new.h
        if projection is not None:
            y = row_blocks.product(padding.inside(made, features), shared.projection, 0, spec.dtype)
            new = new._replace(h=y)
        _, pull_end = jax.vjp(partial(fused.finish, own.spec, at_t=at_t), carry, new, y)
        held, dnew, dprojected = pull_end((dcarry, dy))
        if projection is not None:
            dprojected = padding.inside(dnew.h + dprojected, state)
            dnew = dnew._replace(h=row_blocks.product(dprojected, shared.turned, 0, spec.dtype))
        dvalues, before, deach = pull((dnew, dprojected if projection is None else jnp.zeros_like(made)))
        dzs, drs = ([d[i] if isinstance(d, tuple) else d for d in deach] for i in (0, 1))
        inward = [_through(spec, padding.inside(dr, features), shared.recurrent, g) for g, dr in enumerate(drs)]
        dentering = sum(inward[1:], inward[0])
        dh = dentering if by_row.scale is None else dentering * by_row.scale[...]
        before = jax.tree.map(jnp.add, held, before._replace(h=before.h + dh))
        if at_t.resets is not None:
            zero = jax.tree.map(jnp.zeros_like, before)
            dfresh = jax.tree.map(jnp.add, dfresh, select(at_t.resets, before, zero))
            before = select(at_t.resets, zero, before)
        dscale = None if dscale is None else dscale + dentering * carry.h
        dgates = Gates(*_stored(spec, dzs, [drs[g] for g in spec.paired]))
        around = None if projection is None else (made.astype(spec.dtype), dprojected.astype(spec.dtype))
        real = row < math.prod(place.batch)
        dvalues = [select(real, d, jnp.zeros_like(d)).sum(0) for d in dvalues]
        return (before, dfresh, dscale), (dgates, around), dvalues

    by_row = _by_row(place, operands)
    assert saved.gates is not None  # programs.py sees to it
    gates = _apart(place, saved.gates, features)
    (dcarry, dfresh, dscale), (dgates, around), dvalues = row_blocks.scan(
        body,
        shared,
        by_row,
        (padding.rows(dcarry, 0, place.batch, place.rows), *jax.tree.map(jnp.zeros_like, tuple(by_row))),
        (
            *padding.rows((dys, saved.carries), 1, place.batch, place.rows),
            gates,
            padding.rows(steps, 1, place.batch, place.rows),
        ),
        block=place.block,
        reverse=True,
        name="recurrence_backward",
    )
    dvalues = [d[tuple(map(slice, v.shape))] for d, v in zip(dvalues, known, strict=True)]
    dcarry, dfresh, dscale = (
        padding.cropped(d, of, 0, place.batch)
        for d, of in zip((dcarry, dfresh, dscale), (operands.carry, operands.fresh, operands.scale), strict=True)
    )
    if around is not None:
        shapes = (jax.ShapeDtypeStruct((*operands.xs.shape[:-1], n), spec.dtype) for n in (features, state))
        around = padding.cropped(around, tuple(shapes), 1, place.batch)
    dgates = _side_by_side(place, dgates, features)
    dxs, dweights = fused.of_products(spec, operands, saved.carries.h, dgates, around, pull_known(dvalues)[0])
    return fused.like(operands, Operands(dxs, dweights, dcarry, dfresh, dscale))


def _widths(operands: Operands) -> tuple[int, int]:
    """Returns the features of a gate and of the state."""
    return operands.weights.kernel.shape[-1], operands.carry.h.shape[-1]


def _by_row(place: Layout, operands: Operands) -> ByRow:
    return ByRow(*padding.rows((operands.fresh, operands.scale), 0, place.batch, place.rows))


def _read(refs: Any) -> Any:
    return jax.tree.map(lambda ref: ref[...], refs)


def _through(spec: Spec, a: Array, kernel: Any, g: int) -> Array:
    """Returns the product of `a` with a gate's recurrent kernel."""
    return a * kernel[g][None] if len(kernel.shape) == 2 else row_blocks.product(a, kernel, g, spec.dtype)


def _each(spec: Spec, sums: list[Array], states: list[Array]) -> tuple[Any, ...]:
    """Returns the gates as `pointwise` takes them."""
    pairs = dict(zip(spec.paired, states, strict=True))
    return tuple((z, pairs[g]) if g in pairs else z for g, z in enumerate(sums))


def _stored(spec: Spec, sums: list[Array], states: list[Array]) -> tuple[Any, Any]:
    sums, states = ([g.astype(spec.dtype) for g in gates] for gates in (sums, states))
    return sums, states or None


def _apart(place: Layout, gates: Gates, features: int) -> Gates:
    """Returns gates `[T, *batch, G * H]` as `[T, B, G, H]`, padded."""
    return jax.tree.map(
        lambda g: padding.rows(g.reshape(*g.shape[:-1], -1, features), 1, place.batch, place.rows), gates
    )


def _side_by_side(place: Layout, gates: Gates, features: int) -> Gates:
    """Undoes `_apart`."""

    def leaf(g: Array) -> Array:
        shape = (len(g), *place.batch, g.shape[2], features)
        return flat(padding.cropped(g, jax.ShapeDtypeStruct(shape, g.dtype), 1, place.batch))

    return jax.tree.map(leaf, gates)
