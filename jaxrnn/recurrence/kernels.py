"""Applies the recurrent kernel. Its three layouts, which map the state to the gates, are distinguished by `ndim`:

* dense `[S, G, H]`;
* block-diagonal `[N, S/N, G, H/N]`: N heads that do not see each other;
* diagonal `[G, H]`: each feature sees itself alone.

In each the gates' axis is the last but one, as in the result, `[..., G, H]`: devices may share the last one among them
without splitting a gate. With `flat` all gates lie side by side instead, `[..., G * H]`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxrnn.precision import accumulator, einsum, outer, product
from jaxrnn.shapes import align
from jaxrnn.types import Array


def cast(kernel: Array, dtype: Any) -> Array:
    """Casts `kernel` to the dtype in which products of `dtype` read it; XLA on a GPU would do this in every step."""
    return kernel.astype(accumulator(dtype) if kernel.ndim == 2 else dtype)


def through(kernel: Array, dtype: Any, *, flat: bool = False) -> Callable[[Array], Array]:
    """Returns the map from states `[..., S]` to gates, accumulated in the accumulator of `dtype`."""
    kernel = cast(kernel, dtype)
    if kernel.ndim == 3:
        read = _merged(kernel) if flat else kernel
        return lambda h: product(h, read, dtype)
    if kernel.ndim == 2:
        return lambda h: _merged(h[..., None, :] * align(kernel, h[..., None]), 1 + flat)
    return lambda h: _merged(einsum("...nk,nkgm->...gnm", _split(h, len(kernel)), kernel, dtype), 2 + flat)


def back(kernel: Array, dtype: Any, *, flat: bool = False, by_mosaic: bool = False) -> Callable[[Array], Array]:
    """Transposes `through`: returns the map from cotangents of gates to those of states.

    It casts and transposes the kernel once: in the loop that would cost more than the product. `by_mosaic` says that
    the product is compiled by Mosaic, which for a TPU's kernels refuses to contract two axes at once.
    """
    kernel = cast(kernel, dtype)
    gates, width = kernel.shape[-2:]

    def apart(dr: Array) -> Array:
        return _split(dr, gates) if flat else dr

    if kernel.ndim == 3:
        turned = _merged(kernel).T if flat else kernel.transpose(1, 2, 0)
        return lambda dr: einsum("...n,nk->...k" if flat else "...gm,gmk->...k", dr, turned, dtype)
    if kernel.ndim == 2:
        return lambda dr: (apart(dr).astype(kernel.dtype) * align(kernel, apart(dr))).sum(-2)
    turned = kernel.transpose(0, 2, 3, 1)

    def merged(dr: Array) -> Array:
        by_head = _split(apart(dr), len(kernel))
        if by_mosaic:
            by_row = turned.reshape(len(kernel), gates * width, -1)
            return _merged(einsum("...nm,nmk->...nk", _merged(by_head.swapaxes(-3, -2)), by_row, dtype))
        return _merged(einsum("...gnm,ngmk->...nk", by_head, turned, dtype))

    return merged


def cotangent(kernel: Array, hs: Array, dr: Array, dtype: Any, *, flat: bool = False) -> Array:
    """Returns the kernel's cotangent, summed over all leading axes of states `hs` and gates' cotangents `dr`."""
    width = kernel.shape[-1]
    if kernel.ndim == 3:
        made = outer(hs, dr, dtype)
        return _split(made, made.shape[-1] // width) if flat else made
    features = width if kernel.ndim == 2 else len(kernel) * width
    dr = _split(dr, dr.shape[-1] // features) if flat else dr
    if kernel.ndim == 2:
        by_gate = hs[..., None, :] * dr.astype(hs.dtype)
        return by_gate.sum(tuple(range(by_gate.ndim - 2)))
    by_head = _split(dr, len(kernel))
    return einsum("...nk,...gnm->nkgm", _split(hs, len(kernel)), by_head, dtype)


def dense(kernel: Array) -> Array:
    """Returns a block-diagonal kernel as the dense one that gives the same product; others as they are."""
    if kernel.ndim < 4:
        return kernel
    heads, width, gates, _ = kernel.shape
    apart = jnp.where(jnp.eye(heads, dtype=bool)[:, None, None, :, None], kernel[:, :, :, None], 0)
    return apart.reshape(heads * width, gates, -1)


def _merged(a: Array, axes: int = 2) -> Array:
    """Returns `a` with its last axes as one."""
    return a.reshape(*a.shape[:-axes], math.prod(a.shape[-axes:]))  # −1 is ambiguous for an empty batch


def _split(a: Array, parts: int) -> Array:
    return a.reshape(*a.shape[:-1], parts, a.shape[-1] // parts)
