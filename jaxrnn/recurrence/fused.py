"""Recurrences with one dense product a step, `r = h U`, then elementwise maths: three programs in plain JAX.

`forward` is the loop, `tangent` its derivative along a direction, `backward` that derivative transposed. The input's
projection is one product before the loop, the cotangent of each weight one product after it. `primitive.py` makes
one differentiable operation of the three.

The gates stand side by side in one array `[T, *batch, G * H]`: first their projected inputs, which the forward loop
overwrites with the sums that `pointwise` saw, which the backward loop overwrites with their cotangents.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.precision import accumulator, outer, product
from jaxrnn.recurrence.gates import Gates, Spec, each_gate, flat, meet, side_by_side, split
from jaxrnn.recurrence.loop import after, hold, rewrite, select
from jaxrnn.sharding import vary, varying
from jaxrnn.types import Array, Carry, Params


class Weights(NamedTuple):
    """`kernel [D, G, H]`, `bias [G, H]`, `recurrent [H, G, H]`, and whatever else `pointwise` reads."""

    kernel: Array
    bias: Array
    recurrent: Array
    small: Params


class Operands(NamedTuple):
    """All that a recurrence is differentiable in. `fresh` is None without resets."""

    xs: Array
    weights: Weights
    carry: Carry
    fresh: Carry | None


class Steps(NamedTuple):
    """Which steps are valid and which start anew, bool `[T, *batch]` or None; see `Flow`."""

    valid: Array | None
    resets: Array | None


class Saved(NamedTuple):
    """What the derivative needs of each step: the carry that it started from, and its gates (None: to be rebuilt)."""

    carries: Carry
    gates: Gates | None


def project(xs: Array, weights: Weights, dtype: Any) -> tuple[Array, ...]:
    """The gates' part that needs no carry, one array `[..., H]` in `dtype` a gate."""
    zs = product(xs, flat(weights.kernel), dtype) + flat(weights.bias)
    return split(zs.astype(dtype), weights.bias.shape[0])


def step(spec: Spec, weights: Weights, carry: Carry, zs: tuple[Array, ...]) -> tuple[Carry, Array]:
    """One step from its projected input: the definition."""
    rs = split(product(carry.h, flat(weights.recurrent), spec.dtype), len(zs))
    zs = tuple(z.astype(accumulator(spec.dtype)) for z in zs)
    gates = tuple((z, r) if g in spec.paired else z + r for g, (z, r) in enumerate(zip(zs, rs, strict=True)))
    carry, y = spec.pointwise(weights.small, carry, gates)
    return carry, y.astype(spec.dtype)


def elementwise(
    spec: Spec, small: Params, carry: Carry, each: tuple[Any, ...], valid: Array | None
) -> tuple[Carry, Array]:
    """A step without its product: `(carry, y)`."""
    new, y = spec.pointwise(small, carry, each)
    return hold(valid, carry, new, y.astype(spec.dtype))


def forward(
    spec: Spec, operands: Operands, steps: Steps, *, save: bool, in_place: bool
) -> tuple[Carry, Array, Saved | None]:
    """`(carry, ys, saved)`."""
    weights = operands.weights
    U, bias = flat(weights.recurrent), flat(weights.bias)

    def body(carry: Carry, z: Array, at_t: Steps) -> tuple[Carry, Array | None, Any]:
        if at_t.resets is not None:
            carry = select(at_t.resets, operands.fresh, carry)
        gates = meet(spec, z + bias, product(carry.h, U, spec.dtype))
        new, y = elementwise(spec, weights.small, carry, each_gate(spec, gates), at_t.valid)
        if not save:
            return new, None, (y, None, None)
        gates = jax.tree.map(lambda g: g.astype(z.dtype), gates)
        return new, gates.sums, (y, carry, gates.states)

    # The bias is added in the loop: here it would be one more pass over the largest array.
    zs = product(operands.xs, flat(weights.kernel), spec.dtype).astype(spec.dtype)
    carry, sums, (ys, carries, states) = rewrite(
        body, operands.carry, zs, steps, reverse=spec.reverse, unroll=spec.unroll, in_place=in_place
    )
    return carry, ys, Saved(carries, Gates(sums, states)) if save else None


def with_gates(spec: Spec, operands: Operands, saved: Saved) -> Saved:
    """`saved`, with the gates rebuilt in one product if they were not kept."""
    if saved.gates is not None:
        return saved
    kernel, bias, recurrent, _ = operands.weights
    zs = product(operands.xs, flat(kernel), spec.dtype) + flat(bias)
    gates = meet(spec, zs, product(saved.carries.h, flat(recurrent), spec.dtype))
    return saved._replace(gates=jax.tree.map(lambda g: g.astype(spec.dtype), gates))


def tangent(spec: Spec, operands: Operands, steps: Steps, saved: Saved, d: Operands) -> tuple[Carry, Array]:
    """`(d carry, d ys)`: the derivative of `forward` along `d`, linear in `d`."""
    weights, dw = operands.weights, d.weights
    U = flat(weights.recurrent)
    dzs = product(operands.xs, flat(dw.kernel), spec.dtype) + product(d.xs, flat(weights.kernel), spec.dtype)
    dzs = dzs + flat(dw.bias)
    drs = product(saved.carries.h, flat(dw.recurrent), spec.dtype)
    saved = with_gates(spec, operands, saved)

    def body(dcarry: Carry, at_t: Any) -> tuple[Carry, Array]:
        dz, dr, carry, gates, (valid, reset) = at_t
        if reset is not None:
            dcarry = select(reset, d.fresh, dcarry)
        dgates = meet(spec, dz, dr + product(dcarry.h, U, spec.dtype))

        def local(small: Params, carry: Carry, each: tuple[Any, ...]) -> tuple[Carry, Array]:
            return elementwise(spec, small, carry, each, valid)

        primals = (weights.small, carry, each_gate(spec, gates))
        return jax.jvp(local, primals, (dw.small, dcarry, each_gate(spec, dgates)))[1]

    at = (dzs, drs, saved.carries, saved.gates, steps)
    return lax.scan(body, d.carry, at, reverse=spec.reverse, unroll=spec.unroll)


def backward(
    spec: Spec, operands: Operands, steps: Steps, saved: Saved, dcarry: Carry, dys: Array, *, in_place: bool
) -> Operands:
    """`tangent` transposed: the cotangents of the operands from those of `carry` and `ys`."""
    xs, weights = operands.xs, operands.weights
    U_transposed = flat(weights.recurrent).T  # made once: a transpose in the loop costs more
    batch = dys.shape[1:-1]
    # Small parameters get a cotangent a row, summed once after the loop: a sum over rows in every step costs more.
    small = jax.tree.map(lambda p: jnp.broadcast_to(p, batch + p.shape), weights.small)

    local = partial(elementwise, spec)
    if jax.tree.leaves(small):
        for _ in batch:
            local = jax.vmap(local)

    def body(state: Any, gates: Gates, at_t: Any) -> tuple[Any, Gates, None]:
        dcarry, dsmall, dfresh = state
        dy, carry, (valid, reset) = at_t
        pull = jax.vjp(lambda s, c, g: local(s, c, g, valid), small, carry, each_gate(spec, gates))[1]
        dsmall_t, before, each = pull((dcarry, dy))
        dgates, dr = side_by_side(spec, each, gates.sums.dtype)
        before = before._replace(h=before.h + product(dr, U_transposed, spec.dtype))
        if reset is not None:
            zero = jax.tree.map(jnp.zeros_like, before)
            dfresh = jax.tree.map(jnp.add, dfresh, select(reset, before, zero))
            before = select(reset, zero, before)
        return (before, jax.tree.map(jnp.add, dsmall, dsmall_t), dfresh), dgates, None

    start = (dcarry, jax.tree.map(jnp.zeros_like, small), jax.tree.map(jnp.zeros_like, operands.fresh))
    (dcarry, dsmall, dfresh), dgates, _ = rewrite(
        body,
        vary(start, varying(dys)),
        saved.gates,
        (dys, saved.carries, steps),
        reverse=not spec.reverse,
        unroll=spec.unroll,
        in_place=in_place,
    )
    # XLA transposes what it multiplies with, and would do so before the loop, to keep it in memory all through it.
    xs, hs = after(dcarry.h[..., :1], xs), after(dcarry.h[..., :1], saved.carries.h)
    dz, rows = dgates.sums, tuple(range(len(batch) + 1))
    drecurrent = outer(hs, dz, spec.dtype)
    if spec.paired:
        rs = split(outer(hs, dgates.states, spec.dtype), len(spec.paired))
        parts = list(split(drecurrent, spec.gates))
        for g, r in zip(spec.paired, rs, strict=True):
            parts[g] = r
        drecurrent = jnp.concatenate(parts, axis=-1)
    dweights = Weights(
        kernel=outer(xs, dz, spec.dtype),
        bias=dz.sum(rows, dtype=accumulator(spec.dtype)),
        recurrent=drecurrent,
        small=jax.tree.map(lambda s: s.sum(rows[:-1]), dsmall),
    )
    dxs = product(dz, flat(weights.kernel).T, spec.dtype)
    cotangents = Operands(dxs, dweights, dcarry, dfresh)
    return jax.tree.map(lambda c, primal: c.reshape(primal.shape).astype(primal.dtype), cotangents, operands)
