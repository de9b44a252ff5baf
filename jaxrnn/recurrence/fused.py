"""Recurrences with one dense product a step, `r = h U`, then elementwise maths: three programs in plain JAX.

`forward` is the loop, `tangent` its derivative along a direction, `backward` that derivative transposed. The input's
projection is one product before the loop, the cotangents of all weights one product each after it. `primitive.py`
makes one differentiable operation of the three.

The projection goes into the loop as one array a gate: several slices of one array inside a loop's elementwise body
keep XLA's CPU compiler from vectorising it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.precision import accumulator, outer, product
from jaxrnn.recurrence.loop import hold, loop, select
from jaxrnn.types import Array, Carry, Flow, Params

Pointwise = Callable[[Params, Carry, tuple[Any, ...]], tuple[Carry, Array]]


class Spec(NamedTuple):
    """What is static about a recurrence.

    Attributes:
      pointwise: the cell's elementwise maths, `(params, carry, gates) -> (carry, y)`.
      paired: for each gate, whether it is handed over as `(z, r)` instead of `z + r`.
      dtype: of the products' inputs and of `ys`; carries and elementwise maths are in its accumulator.
      reverse: whether the loop runs from the last step to the first.
      unroll: steps written out in one iteration of the loop.
      rebuild: whether the derivative keeps the carries alone and rebuilds the gates' inputs from them.
    """

    pointwise: Pointwise
    paired: tuple[bool, ...]
    dtype: Any
    reverse: bool
    unroll: int
    rebuild: bool


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
    """What the derivative needs of each step: its first carry, and the gates' inputs (None: to be rebuilt)."""

    carries: Carry
    gates: tuple[Any, ...] | None


def flat(kernel: Array) -> Array:
    """`[K, G, H]` as `[K, G * H]`."""
    return kernel.reshape(kernel.shape[0], -1)


def split(gates: Array, count: int) -> tuple[Array, ...]:
    """`[..., G * H]` as `G` arrays `[..., H]`."""
    return tuple(jnp.split(gates, count, axis=-1))


def gatewise(xs: Array, kernel: Array, dtype: Any) -> tuple[Array, ...]:
    """`xs @ kernel[:, g]` for each gate, in the accumulator's dtype."""
    return tuple(product(xs, kernel[:, g], dtype) for g in range(kernel.shape[1]))


def project(xs: Array, weights: Weights, dtype: Any) -> tuple[Array, ...]:
    """The gates' part that needs no carry, one `[..., H]` array a gate in `dtype`."""
    zs = gatewise(xs, weights.kernel, dtype)
    return tuple((z + weights.bias[g]).astype(dtype) for g, z in enumerate(zs))


def combine(spec: Spec, zs: tuple[Array, ...], rs: tuple[Array, ...]) -> tuple[Any, ...]:
    """What `pointwise` receives: the sum, or the pair for gates that need both."""
    dtype = accumulator(spec.dtype)
    zs = tuple(z.astype(dtype) for z in zs)
    return tuple((z, r) if pair else z + r for pair, z, r in zip(spec.paired, zs, rs, strict=True))


def step(spec: Spec, weights: Weights, carry: Carry, zs: tuple[Array, ...]) -> tuple[Carry, Array, tuple[Any, ...]]:
    """One step: `(carry, y, gates)`."""
    rs = split(product(carry.h, flat(weights.recurrent), spec.dtype), len(zs))
    gates = combine(spec, zs, rs)
    carry, y = spec.pointwise(weights.small, carry, gates)
    return carry, y.astype(spec.dtype), gates


def forward(spec: Spec, operands: Operands, steps: Steps, *, save: bool) -> tuple[Carry, Array, Saved | None]:
    """`(carry, ys, saved)`."""
    xs, weights, carry, fresh = operands

    def body(carry: Carry, z: tuple[Array, ...]) -> tuple[Carry, tuple[Array, Saved | None]]:
        new, y, gates = step(spec, weights, carry, z)
        return new, (y, Saved(carry, None if spec.rebuild else gates) if save else None)

    flow = Flow(steps.valid, steps.resets, fresh)
    zs = project(xs, weights, spec.dtype)
    carry, (ys, saved) = loop(body, carry, zs, flow, reverse=spec.reverse, unroll=spec.unroll)
    return carry, ys, saved


def saved_gates(spec: Spec, operands: Operands, saved: Saved) -> tuple[Any, ...]:
    if saved.gates is not None:
        return saved.gates
    zs = project(operands.xs, operands.weights, spec.dtype)
    return combine(spec, zs, gatewise(saved.carries.h, operands.weights.recurrent, spec.dtype))


def tangent(spec: Spec, operands: Operands, steps: Steps, saved: Saved, d: Operands) -> tuple[Carry, Array]:
    """`(d carry, d ys)`: the derivative of `forward` along `d`, linear in `d`."""
    weights, count = operands.weights, len(spec.paired)
    U = flat(weights.recurrent)
    dtype = accumulator(spec.dtype)
    from_kernel = gatewise(operands.xs, d.weights.kernel, spec.dtype)
    from_xs = gatewise(d.xs, weights.kernel, spec.dtype)
    dzs = tuple(
        a + b + d.weights.bias[g].astype(dtype) for g, (a, b) in enumerate(zip(from_kernel, from_xs, strict=True))
    )
    drs = gatewise(saved.carries.h, d.weights.recurrent, spec.dtype)

    def body(dcarry: Carry, at_t: Any) -> tuple[Carry, Array]:
        dgates, carry, gates, valid, reset = at_t
        if reset is not None:
            dcarry = select(reset, d.fresh, dcarry)
        through = combine(spec, (jnp.zeros((), dtype),) * count, split(product(dcarry.h, U, spec.dtype), count))
        dgates = jax.tree.map(jnp.add, dgates, through)

        def local(small: Params, carry: Carry, gates: tuple[Any, ...]) -> tuple[Carry, Array]:
            return elementwise(spec, small, carry, gates, valid)

        return jax.jvp(local, (weights.small, carry, gates), (d.weights.small, dcarry, dgates))[1]

    at = (combine(spec, dzs, drs), saved.carries, saved_gates(spec, operands, saved), steps.valid, steps.resets)
    return lax.scan(body, d.carry, at, reverse=spec.reverse, unroll=spec.unroll)


def backward(spec: Spec, operands: Operands, steps: Steps, saved: Saved, dcarry: Carry, dys: Array) -> Operands:
    """`tangent` transposed: the cotangents of the operands from those of `carry` and `ys`."""
    xs, weights = operands.xs, operands.weights
    U_transposed = flat(weights.recurrent).T
    batch = saved.carries.h.shape[1:-1]
    # Small parameters get a cotangent a row, summed once after the loop: a sum over rows in every step costs more.
    small = jax.tree.map(lambda p: jnp.broadcast_to(p, batch + p.shape), weights.small)

    def local(small: Params, carry: Carry, gates: tuple[Any, ...], valid: Array | None) -> tuple[Carry, Array]:
        return elementwise(spec, small, carry, gates, valid)

    if jax.tree.leaves(small):
        for _ in batch:
            local = jax.vmap(local)

    def body(state: tuple[Carry, Params, Carry | None], at_t: Any) -> tuple[tuple[Carry, Params, Carry | None], Any]:
        dcarry, dsmall, dfresh = state
        dy, carry, gates, valid, reset = at_t
        pull = jax.vjp(lambda s, c, g: local(s, c, g, valid), small, carry, gates)[1]
        dsmall_t, before, dgates = pull((dcarry, dy))
        dz, dr = (
            jnp.concatenate([g[i] if p else g for g, p in zip(dgates, spec.paired, strict=True)], -1) for i in (0, 1)
        )
        dz, dr = dz.astype(spec.dtype), dr.astype(spec.dtype)
        before = before._replace(h=before.h + product(dr, U_transposed, spec.dtype))
        if reset is not None:
            zero = jax.tree.map(jnp.zeros_like, before)
            dfresh = jax.tree.map(jnp.add, dfresh, select(reset, before, zero))
            before = select(reset, zero, before)
        return (before, jax.tree.map(jnp.add, dsmall, dsmall_t), dfresh), (dr, dz if any(spec.paired) else None)

    dfresh = jax.tree.map(jnp.zeros_like, operands.fresh)
    at = (dys, saved.carries, saved_gates(spec, operands, saved), steps.valid, steps.resets)
    start = (dcarry, jax.tree.map(jnp.zeros_like, small), dfresh)
    (dcarry, dsmall, dfresh), (dr, dz) = lax.scan(body, start, at, reverse=not spec.reverse, unroll=spec.unroll)
    dz = dr if dz is None else dz
    rows = tuple(range(dz.ndim - 1))

    def like(cotangent: Array, primal: Array) -> Array:
        return cotangent.reshape(primal.shape).astype(primal.dtype)

    return Operands(
        xs=product(dz, flat(weights.kernel).T, spec.dtype).astype(xs.dtype),
        weights=Weights(
            kernel=like(outer(xs, dz, spec.dtype), weights.kernel),
            bias=like(dz.sum(rows, dtype=accumulator(spec.dtype)), weights.bias),
            recurrent=like(outer(saved.carries.h, dr, spec.dtype), weights.recurrent),
            small=jax.tree.map(lambda s, p: s.sum(tuple(range(len(batch)))).astype(p.dtype), dsmall, weights.small),
        ),
        carry=dcarry,
        fresh=dfresh,
    )


def elementwise(
    spec: Spec, small: Params, carry: Carry, gates: tuple[Any, ...], valid: Array | None
) -> tuple[Carry, Array]:
    """A step without its product."""
    new, y = spec.pointwise(small, carry, gates)
    return hold(valid, carry, new, y.astype(spec.dtype))
