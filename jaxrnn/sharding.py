"""How arrays lie on a mesh, as far as a loop must know: inside `shard_map`, its carry has to vary as its inputs do."""

from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec

from jaxrnn.types import Array


def varying(tree: Any) -> frozenset[str]:
    """The mesh axes over which any leaf differs, inside `shard_map(check_vma=True)`; elsewhere none."""
    return frozenset().union(*(jax.typeof(leaf).mat.varying for leaf in jax.tree.leaves(tree)))


def vary(tree: Any, axes: frozenset[str]) -> Any:
    """`tree`, every leaf marked as varying over `axes`; the marks' transpose is the sum over them."""

    def leaf(a: Array) -> Array:
        missing = tuple(sorted(axes - varying(a)))
        return lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(leaf, tree) if axes else tree


def laid_as(a: Array, like: jax.ShapeDtypeStruct) -> Array:
    """`a` on a mesh in explicit mode as `like` lies there, which then is part of a type; elsewhere `a` itself."""
    explicit = like.sharding is not None and any(like.sharding.spec)
    return jax.sharding.reshard(a, like.sharding) if explicit else a


def rows_as(tree: Any, like: Array) -> Any:
    """`tree`, its leaves' rows (all axes but the last) laid on a mesh in explicit mode as those of `like`."""
    spec = jax.typeof(like).sharding.spec[:-1]

    def leaf(a: Array) -> Array:
        return jax.sharding.reshard(a, PartitionSpec(*spec, jax.typeof(a).sharding.spec[-1]))

    return jax.tree.map(leaf, tree) if any(spec) else tree


def outer_sharding(a: Array, b: Array) -> PartitionSpec | None:
    """Where `Σ aᵀ b` over all axes but the last lies: in explicit mode a sum over a sharded axis has to say."""
    specs = [jax.typeof(x).sharding.spec for x in (a, b)]
    return PartitionSpec(*(spec[-1] for spec in specs)) if any(any(spec[:-1]) for spec in specs) else None


def is_placed(tree: Any) -> bool:
    """Whether a leaf's type says how it lies on a mesh: by hand in `shard_map`, or in explicit mode."""
    avals = [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
    return any(a.mat.varying or any(a.sharding.spec) for a in avals)
