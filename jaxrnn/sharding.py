"""Matches the sharding of arrays, which loops need: inside `shard_map`, a carry has to vary as the inputs do."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

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
    explicit = like.sharding is not None and any(like.sharding.spec)
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
    """Returns the sharding of `jnp.einsum(form, a, b)`, which explicit mode asks for if an axis that is summed has one.

    It is that of the inputs, and None if neither is sharded or if JAX finds it: where no axis of `...` is summed.
    """
    inputs, out = form.split("->")
    specs = [jax.typeof(x).sharding.spec for x in (a, b)]
    if "..." in out or not any(map(any, specs)):
        return None
    pairs = zip(inputs.split(","), specs, strict=True)
    found = {letter: axis for of, spec in pairs for letter, axis in zip(reversed(of), reversed(spec), strict=False)}
    return PartitionSpec(*(found[letter] for letter in out))


def is_placed(tree: Any) -> bool:
    """Returns whether a leaf's type has a sharding: in `shard_map` or in explicit mode."""
    avals = [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
    return any(a.mat.varying or any(a.sharding.spec) for a in avals)
