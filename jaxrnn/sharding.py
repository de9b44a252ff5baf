"""Matches the sharding of arrays, which loops need: inside `shard_map`, a carry has to vary as the inputs do."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxrnn.types import Array


def varying(tree: Any) -> frozenset[str]:
    """Returns the mesh axes over which any leaf varies inside `shard_map(check_vma=True)`; elsewhere none."""
    return frozenset().union(*(jax.typeof(leaf).mat.varying for leaf in jax.tree.leaves(tree)))


def vary(tree: Any, axes: frozenset[str]) -> Any:
    """Returns `tree` with every leaf marked as varying over `axes`; the transpose is a sum over them."""

    def leaf(a: Array) -> Array:
        missing = tuple(sorted(axes - varying(a)))
        return lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(leaf, tree) if axes else tree


def laid_as(a: Array, like: jax.ShapeDtypeStruct) -> Array:
    """Returns `a` with the sharding of `like` in explicit mode, where it is part of a type; elsewhere `a` itself."""
    explicit = like.sharding is not None and any((*like.sharding.spec, *jax.typeof(a).sharding.spec))
    return jax.sharding.reshard(a, like.sharding) if explicit else a


def typed_as(carry: Any, after: Any, axes: frozenset[str]) -> Any:
    """Returns `carry` with the dtypes and shardings of `after`, the shapes of what a loop's body makes of it.

    `axes` are the mesh axes over which the body's operands vary. `lax.scan` needs all of these to match.
    """
    carry = jax.tree.map(lambda leaf, out: laid_as(jnp.asarray(leaf, out.dtype), out), carry, after)
    return vary(carry, axes)


def rows_as(tree: Any, like: Array) -> Any:
    """Returns `tree` with all axes but the last of each leaf sharded as those of `like` in explicit mode."""
    spec = jax.typeof(like).sharding.spec[:-1]

    def leaf(a: Array) -> Array:
        return jax.sharding.reshard(a, PartitionSpec(*spec, jax.typeof(a).sharding.spec[-1]))

    return jax.tree.map(leaf, tree) if any(spec) else tree


def einsum_sharding(form: str, a: Array, b: Array) -> PartitionSpec | None:
    """Returns the sharding of `jnp.einsum(form, a, b)` where explicit mode asks for it, and None where JAX finds it.

    It is that of the inputs. JAX asks if a mesh axis splits an axis that is summed, or two axes of the result: then the
    one from `b` is split.
    """
    inputs, out = form.split("->")
    specs = [jax.typeof(x).sharding.spec for x in (a, b)]
    if not any(map(any, specs)):
        return None
    pairs = zip(inputs.split(","), specs, strict=True)
    rows, columns = (dict(zip(_axes(of, len(spec)), spec, strict=True)) for of, spec in pairs)
    many = sum(axis.startswith("...") for axis in rows | columns)
    kept = _axes(out, len(out.replace("...", "")) + (many if "..." in out else 0))
    summed = [axis for axis in rows if axis in columns and axis not in kept]
    taken = _mesh_axes(columns[axis] for axis in kept if axis in columns)
    own = {axis: entry for axis, entry in rows.items() if axis in kept and axis not in columns}
    twice = {axis for axis, entry in own.items() if _mesh_axes((entry,)) & taken}
    if not twice and not any(rows[axis] and columns[axis] for axis in summed):
        return None
    found = rows | {axis: entry or rows.get(axis) for axis, entry in columns.items()} | dict.fromkeys(twice)
    return PartitionSpec(*(found[axis] for axis in kept))


def _axes(of: str, ndim: int) -> list[str]:
    """Returns a name for each axis of an einsum's array; those of `...` are counted from the right."""
    before, dots, after = of.partition("...")
    many = ndim - len(before) - len(after)
    return [*before, *(f"...{i}" for i in range(many if dots else 0, 0, -1)), *after]


def _mesh_axes(entries: Iterable[Any]) -> set[str]:
    """Returns the names of mesh axes in entries of a `PartitionSpec`."""
    return {name for entry in entries if entry for name in ((entry,) if isinstance(entry, str) else entry)}


def may_be_shared(a: Array) -> bool:
    """Returns whether devices may share the features of `a`: it has a type that says so, or `jax.set_mesh` was used."""
    kinds = jax.sharding.get_abstract_mesh().axis_types
    return any(jax.typeof(a).sharding.spec) or any(kind != AxisType.Manual for kind in kinds)


def is_placed(tree: Any) -> bool:
    """Returns whether a leaf's type has a sharding: in `shard_map` or in explicit mode."""
    avals = [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
    return any(a.mat.varying or any(a.sharding.spec) for a in avals)
