"""Defines the gates of a dense recurrence: their static description, and their layouts as one array or one per gate."""

from collections.abc import Callable
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
    """

    pointwise: Pointwise
    gates: int
    paired: tuple[int, ...]
    dtype: Any
    unroll: int | None
    rebuild: bool
    then: Callable[..., tuple[Carry, Any]] | None
    method: str


class Gates(NamedTuple):
    """The gates that `pointwise` gets, or their cotangents, as arrays.

    Attributes:
      sums: `z + r` `[..., G * H]`; for paired gates `z` alone.
      states: `r` of the paired gates `[..., P * H]`; None if there are none.
    """

    sums: Array
    states: Array | None


def flat(gates: Array) -> Array:
    """Reshapes `[..., G, H]` to `[..., G * H]`."""
    return gates.reshape(*gates.shape[:-2], -1)


def split(gates: Array, count: int) -> tuple[Array, ...]:
    """Splits `[..., G * H]` into `G` arrays `[..., H]`."""
    return tuple(jnp.split(gates, count, axis=-1))


def meet(spec: Spec, z: Array, r: Array) -> Gates:
    """Returns the gates from projected inputs and products, both `[..., G * H]`."""
    if not spec.paired:
        return Gates(z + r, None)
    rs = split(r, spec.gates)
    added = [jnp.zeros_like(r) if g in spec.paired else r for g, r in enumerate(rs)]
    return Gates(z + jnp.concatenate(added, axis=-1), jnp.concatenate([rs[g] for g in spec.paired], axis=-1))


def each_gate(spec: Spec, gates: Gates) -> tuple[Any, ...]:
    """Returns `gates` as `pointwise` takes them: one array per gate, or a pair."""
    dtype = accumulator(spec.dtype)
    each: list[Any] = [g.astype(dtype) for g in split(gates.sums, spec.gates)]
    if gates.states is not None:
        for g, r in zip(spec.paired, split(gates.states, len(spec.paired)), strict=True):
            each[g] = (each[g], r.astype(dtype))
    return tuple(each)


def side_by_side(spec: Spec, each: tuple[Any, ...], dtype: Any) -> tuple[Gates, Array]:
    """Inverts `each_gate` for cotangents: returns those of the gates, and that of all products `[..., G * H]`."""

    def join(gates: list[Array]) -> Array:
        return jnp.concatenate(gates, axis=-1).astype(dtype)

    if not spec.paired:
        sums = join(list(each))
        return Gates(sums, None), sums
    zs, rs = ([g[i] if isinstance(g, tuple) else g for g in each] for i in (0, 1))
    return Gates(join(zs), join([rs[g] for g in spec.paired])), join(rs)
