"""Reads, checks and writes mappings of named arrays, which other frameworks have for weights."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.types import Array

Weights = dict[str, Any]  # keys are paths: "dense_i/kernel"
Shapes = dict[str, tuple[int, ...]]


def read(where: str, name: str, weights: Any, example: str, *, prefix: str = "") -> Weights:
    """Returns the arrays of a mapping, nested or not, by path without `prefix`; it skips paths without it.

    Arrays may be of any framework if NumPy can read them; traced ones stay traced.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"{where}: {name} is a {type(weights).__name__}, expected a mapping such as {example}")
    found = {path.removeprefix(prefix): leaf for path, leaf in _flat(weights) if path.startswith(prefix)}
    if not found:
        under = f"no entry under prefix={prefix!r}" if prefix else "no entries"
        raise ValueError(f"{where}: {name} has {under}, expected weights; its keys begin {sorted(weights)[:4]}")
    return {path: array(where, path, leaf) for path, leaf in found.items()}


def groups(where: str, weights: Weights, leaves: Sequence[str]) -> dict[str, Weights]:
    """Groups weights by the part of their paths before one of `leaves`."""
    grouped: dict[str, Weights] = {}
    for path, array in weights.items():
        found = re.fullmatch(rf"(?:(.*?)/)??({'|'.join(leaves)})", path)
        if not found:
            some = ", ".join(leaves[:6]) + ", …" * (len(leaves) > 6)
            raise ValueError(f"{where}: {path!r} is unknown, expected names that end in {some}")
        grouped.setdefault(found[1] or "", {})[found[2]] = array
    return grouped


def directions(where: str, found: dict[str, Weights]) -> list[tuple[str, Weights]]:
    """Returns the only group, or those with `forward` and `backward` in their paths, each with its name for errors."""
    ways = [[path for path in found if way in path] for way in ("forward", "backward")]
    if len(found) == 1:
        ways = [list(found)]
    if any(len(way) != 1 for way in ways) or len(ways) != len(found):
        expected = "one cell's, or those of two as {'forward': …, 'backward': …}"
        raise ValueError(f"{where}: weights are those of {list(found)}, expected {expected}")
    return [(f"{where}: {path}" if path else where, found[path]) for (path,) in ways]


def owned(weights: dict[str, Any]) -> dict[str, Any]:
    """Copies weights, because NumPy's views of JAX's arrays are read-only."""
    return {
        name: owned(leaf) if isinstance(leaf, dict) else np.array(leaf, order="C") for name, leaf in weights.items()
    }


def prefixed(paths: Iterable[str], parts: Iterable[Weights]) -> Weights:
    """Merges weights, with a path before each part."""
    return {path + name: leaf for path, part in zip(paths, parts, strict=True) for name, leaf in part.items()}


def modules(weights: Weights) -> dict[str, Any]:
    """Returns a dict of dicts: weights by their last name, in modules by the path before it."""
    tree: dict[str, Any] = {}
    for path, leaf in weights.items():
        module, _, name = path.rpartition("/")
        tree.setdefault(module, {})[name] = leaf
    return tree


def nested(weights: Weights) -> dict[str, Any]:
    """Returns nested dicts from paths."""
    tree: dict[str, Any] = {}
    for path, leaf in weights.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = leaf
    return tree


def check_names(where: str, weights: Mapping[str, Any], expected: Iterable[str], remedy: str) -> None:
    """Checks that the names of `weights` are exactly the expected ones."""
    expected = list(expected)
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        said = [f"lack {missing}"] * bool(missing) + [f"have unknown {unknown}"] * bool(unknown)
        raise ValueError(f"{where}: weights {' and '.join(said)}, expected {expected}; {remedy}")


def check_shapes(where: str, weights: Mapping[str, Any], shapes: Shapes, because: str) -> None:
    for name, shape in shapes.items():
        checks.check_shape(where, repr(name), weights[name], shape, because)


def check_axes(where: str, weights: Mapping[str, Any], name: str, axes: int) -> None:
    """Checks the number of axes of a weight from which sizes are read."""
    if weights[name].ndim != axes:
        raise checks.ShapeError(f"{where}: {name!r} has shape {weights[name].shape}, expected {axes} axes")


def _flat(weights: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, branch in weights.items():
        if isinstance(branch, Mapping):
            yield from _flat(branch, f"{path}{name}/")
        else:
            yield f"{path}{name}", branch


def array(where: str, path: str, leaf: Any) -> Array:
    """Returns one weight or state of NumPy, JAX, or another framework if NumPy can read it."""
    try:
        read = leaf if isinstance(leaf, jax.Array) else jnp.array(np.asarray(leaf))  # copied, since theirs may change
    except TypeError:
        raise checks.ShapeError(
            f"{where}: {path!r} is a {type(leaf).__name__} that NumPy cannot read, expected a floating array; "
            "tensor.float().cpu().numpy() makes one"
        ) from None
    if not jnp.issubdtype(read.dtype, jnp.floating):
        raise checks.ShapeError(f"{where}: {path!r} has dtype {read.dtype}, expected a floating one")
    return read
