"""Mappings of named arrays, as other frameworks keep their weights: read, checked, and written."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.types import Array

Weights = dict[str, Any]  # by their path: "dense_i/kernel"
Shapes = dict[str, tuple[int, ...]]


def read(where: str, name: str, weights: Any, example: str, *, prefix: str = "") -> Weights:
    """The arrays of a mapping, nested or not, by their path and without `prefix`; others than it has are left alone.

    The framework is not needed for it: what NumPy can read is read, and what JAX traces stays traced.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"{where}: {name} is a {type(weights).__name__}, expected a mapping such as {example}")
    found = {path.removeprefix(prefix): leaf for path, leaf in _flat(weights) if path.startswith(prefix)}
    if not found:
        under = f"no entry under prefix={prefix!r}" if prefix else "no entries"
        raise ValueError(f"{where}: {name} has {under}, expected weights; its keys begin {sorted(weights)[:4]}")
    return {path: array(where, path, leaf) for path, leaf in found.items()}


def groups(where: str, weights: Weights, leaves: Sequence[str]) -> dict[str, Weights]:
    """Weights by what stands in their paths before one of `leaves`."""
    grouped: dict[str, Weights] = {}
    for path, array in weights.items():
        found = re.fullmatch(rf"(?:(.*?)/)??({'|'.join(leaves)})", path)
        if not found:
            some = ", ".join(leaves[:6]) + ", …" * (len(leaves) > 6)
            raise ValueError(f"{where}: {path!r} is unknown, expected names that end in {some}")
        grouped.setdefault(found[1] or "", {})[found[2]] = array
    return grouped


def directions(where: str, found: dict[str, Weights]) -> list[tuple[str, Weights]]:
    """One group, or the one with `forward` in its path and the one with `backward`, each with its name for errors."""
    ways = [[path for path in found if way in path] for way in ("forward", "backward")]
    if len(found) == 1:
        ways = [list(found)]
    if any(len(way) != 1 for way in ways) or len(ways) != len(found):
        expected = "one cell's, or those of two as {'forward': …, 'backward': …}"
        raise ValueError(f"{where}: weights are those of {list(found)}, expected {expected}")
    return [(f"{where}: {path}" if path else where, found[path]) for (path,) in ways]


def owned(weights: dict[str, Any]) -> dict[str, Any]:
    """Copies, which their owner may write to: NumPy's views of JAX's arrays may not be written to."""
    return {
        name: owned(leaf) if isinstance(leaf, dict) else np.array(leaf, order="C") for name, leaf in weights.items()
    }


def prefixed(paths: Iterable[str], parts: Iterable[Weights]) -> Weights:
    """All weights together, each part under a path of its own."""
    return {path + name: leaf for path, part in zip(paths, parts, strict=True) for name, leaf in part.items()}


def modules(weights: Weights) -> dict[str, Any]:
    """A dict of dicts: weights by their last name, modules by the path before it."""
    tree: dict[str, Any] = {}
    for path, leaf in weights.items():
        module, _, name = path.rpartition("/")
        tree.setdefault(module, {})[name] = leaf
    return tree


def nested(weights: Weights) -> dict[str, Any]:
    """Dicts in dicts, from paths."""
    tree: dict[str, Any] = {}
    for path, leaf in weights.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = leaf
    return tree


def check_names(where: str, weights: Mapping[str, Any], expected: Iterable[str], remedy: str) -> None:
    """That exactly these are there."""
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
    """That a weight which tells the sizes of the others has the axes to do so."""
    if weights[name].ndim != axes:
        raise checks.ShapeError(f"{where}: {name!r} has shape {weights[name].shape}, expected {axes} axes")


def _flat(weights: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, branch in weights.items():
        if isinstance(branch, Mapping):
            yield from _flat(branch, f"{path}{name}/")
        else:
            yield f"{path}{name}", branch


def array(where: str, path: str, leaf: Any) -> Array:
    """One weight or state, of NumPy, of JAX, or of another framework if NumPy can read it."""
    try:
        read = leaf if isinstance(leaf, jax.Array) else jnp.array(np.asarray(leaf))  # a copy: theirs may change
    except TypeError:
        raise checks.ShapeError(
            f"{where}: {path!r} is a {type(leaf).__name__} that NumPy cannot read, expected a floating array; "
            "tensor.float().cpu().numpy() makes one"
        ) from None
    if not jnp.issubdtype(read.dtype, jnp.floating):
        raise checks.ShapeError(f"{where}: {path!r} has dtype {read.dtype}, expected a floating one")
    return read
