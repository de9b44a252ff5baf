"""Golden files: what another framework makes of small random inputs, nested dicts of arrays in one `.npz` each.

A file holds

* `made`: the seed, the framework's version and the command that wrote it;
* `inputs`: `weights` in the framework's own names and layout, `xs [T, B, D]`, and the initial `carry`;
* `lengths [B]` or `mask [T, B]`, the valid steps;
* `cotangents`, of the outputs `ys [T, B, H]` and of the final `carry`;
* for every way of running (`plain`, and `packed` or `masked`; each `forward` and `backward`), `outputs`: `ys` and the
  final `carry`, and `gradients`, laid out like `inputs`: those cotangents pulled back.

All of them are float32. Time leads, and outputs stand at the step of their input.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
T, B, D, H = 7, 4, 3, 5


def draw(rng: np.random.Generator, shapes: Any) -> Any:
    """Normal float32 arrays in nested dicts like `shapes`, of half unit width: no gate saturates."""
    if isinstance(shapes, dict):
        return {name: draw(rng, shape) for name, shape in shapes.items()}
    return (0.5 * rng.standard_normal(shapes)).astype(np.float32)


def save(name: str, golden: dict[str, Any], **made: Any) -> None:
    """Writes `name.npz`; equal arguments give equal bytes."""
    np.savez(FOLDER / f"{name}.npz", **dict(_flat({"made": made, **golden})))


def load(name: str) -> dict[str, Any]:
    """The nested dicts that `save` was given."""
    tree: dict[str, Any] = {}
    with np.load(FOLDER / f"{name}.npz") as file:
        for path, array in file.items():
            *folders, leaf = path.split("/")
            place = tree
            for folder in folders:
                place = place.setdefault(folder, {})
            place[leaf] = array
    return tree


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, branch in tree.items():
        if isinstance(branch, dict):
            yield from _flat(branch, f"{prefix}{name}/")
        else:
            yield prefix + name, branch
