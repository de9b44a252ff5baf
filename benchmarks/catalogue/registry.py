"""The cells of the registry as they are timed and trained. Nothing here is a list of cells: what a cell needs is asked
of its constructor and of its record.
"""

import math
from functools import cache, partial
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from benchmarks.problems import Shape
from jaxrnn.cells import CONSTRUCTORS, needed
from jaxrnn.cli import model
from jaxrnn.types import Cell, Layer

SIDE, CHANNELS, IMAGES = 8, 16, 4  # of images, and how many sequences of them are in a batch
WIDEST = 1024
ROOM = 1.25  # by which the parameters may exceed the budget


class LeftOut(Exception):
    """A cell that takes no part, and why."""


def timed_cell(name: str, features: int) -> Cell:
    """The cell with its defaults, of this width.

    Raises:
      LeftOut: its constructor needs what nobody gives here.
    """
    sizes: dict[str, Any] = {"features": features, "projection": features // 2, "kernel_size": (3, 3)}
    make = CONSTRUCTORS[name]
    if missing := [it for it in needed(make) if it not in sizes]:
        raise LeftOut(f"it needs {', '.join(missing)}")
    if "kernel_size" in needed(make):
        sizes["features"] = CHANNELS
    return make(*(sizes[it] for it in needed(make)))


def inputs(cell: Cell, shape: Shape, seed: int) -> np.ndarray:
    """Random inputs that fit the cell: vectors, images, or vectors that end with the time since the last one."""
    rng = np.random.default_rng([seed, *shape])
    sizes = (shape.B, shape.D) if cell.num_feature_axes == 1 else (IMAGES, SIDE, SIDE, CHANNELS)
    xs = rng.standard_normal((shape.T, *sizes)).astype(np.float32)
    if cell.timed:
        xs[..., -1] = rng.uniform(0.5, 1.5, xs.shape[:-1])
    return xs


def count(layer: Cell | Layer, in_features: int | None) -> int:
    """How many parameters it has."""
    params = jax.eval_shape(lambda key: layer.init(key, in_features), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def reason(name: str) -> str | None:
    """Why a cell is not trained here; None for those that are."""
    try:
        cell = timed_cell(name, 8)
    except LeftOut as why:
        return str(why)
    if cell.num_feature_axes > 1:
        return "it reads images"
    if cell.timed:
        return "it reads times"
    if "masses" in signature(CONSTRUCTORS[name]).parameters:
        return "it reads masses"
    return None if name in model.CELLS else "the command line makes no model of it"


@cache
def trained_layer(name: str, width: int, budget: int) -> tuple[int, Layer]:
    """The cell between a layer of `width` features and a dense layer back to as many, and the cell's own features.

    Those are as many as bring the parameters of both nearest to `budget`.

    Raises:
      LeftOut: the narrowest is too large.
    """
    step = 4 if "heads" in signature(CONSTRUCTORS[name]).parameters else 1  # so that all have as many heads
    made = partial(between, name, width)
    low, high = 1, 2
    while high * step < WIDEST and count(made(high * step), width) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(made(middle * step), width) < budget else (low, middle)
    features = step * min((low, high), key=lambda it: abs(count(made(it * step), width) - budget))
    if (found := count(made(features), width)) > ROOM * budget:
        raise LeftOut(f"with {features} features it has {found:,} parameters, and the budget is {budget:,}")
    return features, made(features)


def between(name: str, width: int, features: int) -> Layer:
    """The cell and the dense layer after it, and one before it if its inputs have to be as wide as itself."""
    cell = model.CELLS[name](features)
    before = [] if fits(cell, width) else [jaxrnn.dense(features)]
    return jaxrnn.stack(*before, cell, jaxrnn.dense(width))


def fits(cell: Cell, width: int) -> bool:
    """Whether the cell takes inputs of `width` features."""
    try:
        params = jax.eval_shape(lambda key: cell.init(key, width), jax.random.key(0))
        jax.eval_shape(lambda params: jaxrnn.unroll(cell, params, jnp.zeros((2, 1, width))), params)
    except ValueError:
        return False
    return True
