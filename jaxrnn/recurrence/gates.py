"""Defines the gates of a dense recurrence: their static description, and their layouts as one array or one per gate."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxrnn.precision import accumulator
from jaxrnn.types import Array, Carry, Params

Pointwise = Callable[[Params, Carry, tuple[Any, ...]], tuple[Carry, Array]]


class Spec(NamedTuple):
    """The static description of a recurrence.

    Attributes:
      pointwise: the cell's elementwise maths, `(params, carry, gates) -> (carry, y)`.
      gates: the number of gates.
      paired: indices of the gates that `pointwise` gets as `(z, r)` instead of `z + r`.
      dtype: of the products' inputs and of `ys`; carries and elementwise maths are in its accumulator.
      unroll: steps written out in one iteration of the loop; None: as many as suit the platform.
      rebuild: whether the derivative stores only the carries and recomputes the gates from them.
      then: a function after each step, see `Flow`; None: nothing.
      method: `"fused"`, or `"kernel"`.
      flat: whether gates lie side by side, `[..., G * H]`: a TPU's kernel needs it, and a CPU joins gates faster.
        Otherwise they are `[..., G, H]`, of which devices may share the last axis without splitting a gate.
    """

    pointwise: Pointwise
    gates: int
    paired: tuple[int, ...]
    dtype: Any
    unroll: int | None
    rebuild: bool
    then: Callable[..., tuple[Carry, Any]] | None
    method: str
    flat: bool


class Gates(NamedTuple):
    """The gates that `pointwise` gets, or their cotangents, as arrays `[..., G, H]`, or `[..., G * H]` if `Spec.flat`.

    Attributes:
      sums: `z + r`; for paired gates `z` alone.
      states: `r` of the paired gates alone; None if there are none.
    """

    sums: Array
    states: Array | None


def flat(gates: Array) -> Array:
    """Reshapes `[..., G, H]` to `[..., G * H]`."""
    return gates.reshape(*gates.shape[:-2], -1)


def laid(spec: Spec, weight: Array) -> Array:
    """Returns a weight `[..., G, H]` so that its products are gates as `spec` lays them."""
    return flat(weight) if spec.flat else weight


def split(spec: Spec, gates: Array, count: int) -> tuple[Array, ...]:
    """Returns `count` gates as an array `[..., H]` each."""
    if spec.flat:
        return tuple(jnp.split(gates, count, axis=-1))
    return tuple(gates[..., g, :] for g in range(count))


def join(spec: Spec, each: Sequence[Array]) -> Array:
    """Inverts `split`."""
    return jnp.concatenate(each, axis=-1) if spec.flat else jnp.stack(each, axis=-2)


def meet(spec: Spec, z: Array, r: Array) -> Gates:
    """Returns the gates from projected inputs and products."""
    if not spec.paired:
        return Gates(z + r, None)
    rs = split(spec, r, spec.gates)
    added = [jnp.zeros_like(r) if g in spec.paired else r for g, r in enumerate(rs)]
    return Gates(z + join(spec, added), join(spec, [rs[g] for g in spec.paired]))


def each_gate(spec: Spec, gates: Gates) -> tuple[Any, ...]:
    """Returns `gates` as `pointwise` takes them: one array per gate, or a pair."""
    dtype = accumulator(spec.dtype)
    each: list[Any] = [g.astype(dtype) for g in split(spec, gates.sums, spec.gates)]
    if gates.states is not None:
        for g, r in zip(spec.paired, split(spec, gates.states, len(spec.paired)), strict=True):
            each[g] = (each[g], r.astype(dtype))
    return tuple(each)


def side_by_side(spec: Spec, each: tuple[Any, ...], dtype: Any) -> tuple[Gates, Array]:
    """Inverts `each_gate` for cotangents: returns those of the gates, and that of all products."""

    def joined(gates: Sequence[Array]) -> Array:
        return join(spec, gates).astype(dtype)

    if not spec.paired:
        sums = joined(each)
        return Gates(sums, None), sums
    zs, rs = ([g[i] if isinstance(g, tuple) else g for g in each] for i in (0, 1))
    return Gates(joined(zs), joined([rs[g] for g in spec.paired])), joined(rs)
