"""Applies the recurrent kernel. Its three layouts, which map the state to the gates, are distinguished by `ndim`:

* dense `[S, G, H]`;
* block-diagonal `[N, S/N, G, H/N]`: N heads that do not see each other;
* diagonal `[G, H]`: each feature sees itself alone.

In each the gates' axis is the last but one. The result has all gates side by side, `[..., G * H]`.
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


def through(kernel: Array, dtype: Any) -> Callable[[Array], Array]:
    """Returns the map from states `[..., S]` to gates `[..., G * H]`, accumulated in the accumulator of `dtype`."""
    kernel = cast(kernel, dtype)
    if kernel.ndim == 3:
        flat = _gates_last(kernel)
        return lambda h: product(h, flat, dtype)
    if kernel.ndim == 2:
        return lambda h: _gates_last(h[..., None, :] * align(kernel, h[..., None]))
    heads = kernel.shape[0]
    return lambda h: _gates_last(einsum("...nk,nkgm->...gnm", _split(h, heads), kernel, dtype), 3)


def back(kernel: Array, dtype: Any, *, by_mosaic: bool = False) -> Callable[[Array], Array]:
    """Transposes `through`: returns the map from cotangents of gates to those of states.

    It casts and transposes the kernel once: in the loop that would cost more than the product. `by_mosaic` says that
    the product is compiled by Mosaic, which for a TPU's kernels refuses to contract two axes at once.
    """
    kernel = cast(kernel, dtype)
    gates, width = kernel.shape[-2:]
    if kernel.ndim == 3:
        flat = _gates_last(kernel).T
        return lambda dr: product(dr, flat, dtype)
    if kernel.ndim == 2:
        return lambda dr: (_split(dr, gates).astype(kernel.dtype) * align(kernel, dr[..., None])).sum(-2)
    turned = kernel.transpose(0, 2, 3, 1)

    def merged(dr: Array) -> Array:
        by_head = dr.reshape(*dr.shape[:-1], gates, len(kernel), width)
        if by_mosaic:
            flat = turned.reshape(len(kernel), gates * width, -1)
            return _gates_last(einsum("...nm,nmk->...nk", _gates_last(by_head.swapaxes(-3, -2)), flat, dtype))
        return _gates_last(einsum("...gnm,ngmk->...nk", by_head, turned, dtype))

    return merged


def cotangent(kernel: Array, hs: Array, dr: Array, dtype: Any) -> Array:
    """Returns the kernel's cotangent, summed over all leading axes of states `hs` and gates' cotangents `dr`."""
    width = kernel.shape[-1]
    if kernel.ndim == 3:
        return outer(hs, dr, dtype).reshape(len(kernel), -1, width)
    if kernel.ndim == 2:
        by_gate = hs[..., None, :] * _split(dr, dr.shape[-1] // width).astype(hs.dtype)
        return by_gate.sum(tuple(range(by_gate.ndim - 2)))
    by_head = dr.reshape(*dr.shape[:-1], dr.shape[-1] // (len(kernel) * width), len(kernel), width)
    return einsum("...nk,...gnm->nkgm", _split(hs, len(kernel)), by_head, dtype)


def dense(kernel: Array) -> Array:
    """Returns a block-diagonal kernel as the dense one that gives the same product; others as they are."""
    if kernel.ndim < 4:
        return kernel
    heads, width, gates, _ = kernel.shape
    apart = jnp.where(jnp.eye(heads, dtype=bool)[:, None, None, :, None], kernel[:, :, :, None], 0)
    return apart.reshape(heads * width, gates, -1)


def _gates_last(a: Array, axes: int = 2) -> Array:
    return a.reshape(*a.shape[:-axes], math.prod(a.shape[-axes:]))  # −1 is ambiguous for an empty batch


def _split(a: Array, parts: int) -> Array:
    return a.reshape(*a.shape[:-1], parts, a.shape[-1] // parts)
