"""Lays arrays out for programs that take one batch axis and powers of two, and takes the padding off again."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.recurrence import kernels
from jaxrnn.recurrence.fused import Weights
from jaxrnn.types import Array

NARROWEST = 16  # rows and columns of the smallest product that tensor cores compute


def width(features: int) -> int:
    """Returns the smallest power of two that is not below `features`, and at least `NARROWEST`."""
    return max(NARROWEST, 1 << (features - 1).bit_length())


def widened(a: Array, *axes: int) -> Array:
    """Pads these axes with zeros to their `width`."""
    return _grown(a, {axis % a.ndim: width(a.shape[axis]) for axis in axes})


def rows(tree: Any, lead: int, batch: tuple[int, ...], count: int, *, wide: bool = True) -> Any:
    """Returns the leaves `[*lead, *batch, ...]` as `[*lead, count, ...]`, with zeros in further rows.

    `lead` is the number of leading axes; `wide` says that features, where there are any, are padded, too.
    """

    def leaf(a: Array) -> Array:
        inner = a.shape[lead + len(batch) :]
        flat = a.reshape(*a.shape[:lead], math.prod(batch), *inner)
        return _grown(flat, {lead: count} | ({flat.ndim - 1: width(inner[-1])} if wide and inner else {}))

    return jax.tree.map(leaf, tree)


def cropped(tree: Any, like: Any, lead: int, batch: tuple[int, ...]) -> Any:
    """Undoes `rows`; `like` has the shapes."""

    def leaf(a: Array, like: jax.ShapeDtypeStruct) -> Array:
        inner = like.shape[lead + len(batch) :]
        sizes = (*a.shape[:lead], math.prod(batch), *inner)
        return a[tuple(slice(n) for n in sizes)].reshape(like.shape)

    return jax.tree.map(leaf, tree, like)


def inside(a: Array, features: int) -> Array:
    """Returns `a [B, W]` with zeros in its padded features, whose values may not be finite: 0 * NaN is NaN."""
    if a.shape[1] == features:
        return a
    return jnp.where(lax.broadcasted_iota(jnp.int32, a.shape, 1) < features, a, jnp.zeros_like(a))


def grown_to(shapes: list[jax.ShapeDtypeStruct], arrays: list[Array]) -> list[Array]:
    """Pads arrays with zeros to these shapes."""
    return [_grown(a, dict(enumerate(shape.shape))) for a, shape in zip(arrays, shapes, strict=True)]


def weights(of: Weights) -> Weights:
    """Returns weights with padded features, and a block-diagonal recurrent kernel as a dense one."""
    recurrent = kernels.dense(of.recurrent)
    return Weights(
        kernel=widened(of.kernel, -1),
        bias=None if of.bias is None else widened(of.bias, -1),
        recurrent=widened(recurrent, -1) if recurrent.ndim == 2 else widened(recurrent, 0, -1),
        projection=None if of.projection is None else widened(of.projection, 0, 1),
        small=of.small,
    )


def _grown(a: Array, sizes: dict[int, int]) -> Array:
    more = [(0, sizes.get(axis, n) - n) for axis, n in enumerate(a.shape)]
    return jnp.pad(a, more) if any(after for _, after in more) else a
