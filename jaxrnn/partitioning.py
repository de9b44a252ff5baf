"""Assigns names of mesh axes to parameters by their names or paths, as both Flax modules do."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.roles import ends_of
from jaxrnn.types import Params

Names = tuple[str | tuple[str, ...] | None, ...]  # one entry per axis; None: not partitioned
Partitioning = Mapping[str, Names]


def partitioned(where: str, params: Params, partitioning: Partitioning, box: Callable[[Any, Any], Any]) -> Params:
    """Returns `params` with `box(value, names)` for each parameter that `partitioning` names.

    `"kernel"` names every `kernel`, `"layer_0/kernel"` that of one layer alone; the longest match counts.
    """
    used, paths = set(), []

    def boxed(path: tuple[Any, ...], value: Any) -> Any:
        ends = ends_of([entry.key for entry in path])
        paths.append(ends[0])
        found = [end for end in ends if end in partitioning]
        used.update(found)
        if not found:
            return value
        names = tuple(partitioning[found[0]])
        if len(names) != jnp.ndim(value):
            raise ValueError(
                f"{where}: partitioning[{found[0]!r}] is {names}, expected {jnp.ndim(value)} entries, one an axis of "
                f"{ends[0]} of shape {jnp.shape(value)}; a longer path names it alone"
            )
        return box(value, names)

    tree = jax.tree_util.tree_map_with_path(boxed, params)
    if unknown := sorted(set(partitioning) - used):
        raise ValueError(f"{where}: partitioning has unknown {unknown}, expected names or paths among {paths}")
    return tree
