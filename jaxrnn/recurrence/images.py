"""Makes cells whose states are images: convolutions take the place of products."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import checks
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Carry, Cell, Params

SPACE = "XYZ"
Padding = Literal["same", "valid"]


class Window(NamedTuple):
    """The convolution of the inputs; that of the state always has stride 1 and keeps its size.

    Attributes:
      size: the kernel's, an int for each spatial axis.
      padding: `"same"` with zeros around the images, `"valid"` without.
      strides: the distances between windows.
      dilation: the distances between entries of a window.
    """

    size: tuple[int, ...]
    padding: Padding
    strides: tuple[int, ...]
    dilation: tuple[int, ...]

    def extent(self) -> tuple[int, ...]:
        """Returns the size of the part of an image that one window covers."""
        return tuple(step * (size - 1) + 1 for size, step in zip(self.size, self.dilation, strict=True))

    def outputs(self, where: str, space: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the sizes of the outputs for images of `space`; none for a carry without spatial axes."""
        covered = self.extent() if self.padding == "valid" else (1,) * len(self.size)
        if any(n < c for n, c in zip(space, covered, strict=False)):
            raise checks.ShapeError(
                f"{where}: images have shape {space}, expected {covered} or more from kernel_size={self.size}, "
                f"dilation={self.dilation} and padding='valid'; padding='same' takes any"
            )
        return tuple((n - c) // stride + 1 for n, c, stride in zip(space, covered, self.strides, strict=False))


def window_of(where: str, kernel_size: Any, padding: Any, strides: Any, dilation: Any) -> Window:
    """Returns these options, checked, with an int for each spatial axis."""
    if not isinstance(kernel_size, Sequence) or not 1 <= len(kernel_size) <= len(SPACE):
        raise ValueError(f"{where}: kernel_size is {kernel_size!r}, expected a tuple of 1 to 3 ints, such as (3, 3)")
    checks.check_choice(where, "padding", padding, ("same", "valid"))
    found = {"kernel_size": tuple(kernel_size)}
    for name, value in (("strides", strides), ("dilation", dilation)):
        found[name] = tuple(value) if isinstance(value, Sequence) else (value,) * len(kernel_size)
        if len(found[name]) != len(kernel_size):
            axes = len(kernel_size)
            raise ValueError(f"{where}: {name} is {value!r}, expected an int, or {axes}, as many as kernel_size")
    for name, sizes in found.items():
        for size in sizes:
            checks.check_positive(where, f"an entry of {name}", size)
    return Window(found["kernel_size"], padding, found["strides"], found["dilation"])


def image_params(
    key: Array,
    in_features: int,
    *,
    features: int,
    window: tuple[int, ...],
    gates: int,
    options: CellOptions,
) -> Params:
    """Draws kernels `[*window, D, gates, H]` and `[*window, H, gates, H]` per gate, and the bias, if any."""
    param_dtype = options["param_dtype"]

    def draw(init: Initializer, key: Array, channels: int) -> Array:
        shape, wide = (*window, channels, features), accumulator(param_dtype)
        per_gate = jax.vmap(lambda k: init(k, shape, wide), out_axes=-2)
        return per_gate(jax.random.split(key, gates)).astype(param_dtype)

    k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
    params = {
        "kernel": draw(options["kernel_init"], k_kernel, in_features),
        "recurrent_kernel": draw(options["recurrent_kernel_init"], k_recurrent, features),
    }
    if options["use_bias"]:
        params["bias"] = options["bias_init"](k_bias, (gates, features), param_dtype)
    return params


def image_cell(
    where: str,
    step: Callable[[Any, Any, tuple[Array, ...]], tuple[Any, Array]],
    init: Any,
    carry: Any,
    window: Window,
    dtype: Any,
) -> Cell:
    """Makes a cell of the plain loop from `step(params, carry, zs)`, with the convolved inputs `zs`, one per gate."""
    spatial = len(window.size)

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kernel = params["recurrent_kernel"]
        batch, space = batch_shape[:-spatial], batch_shape[-spatial:]
        shape = (*batch, *window.outputs(where, space), kernel.shape[-1])
        wide = accumulator(compute_dtype(dtype, kernel))
        return carry(*(zeros(shape, wide) for _ in carry._fields))

    def project(params: Params, xs: Array) -> tuple[Array, ...]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        zs = _convolved(xs, params["kernel"], compute, window)
        if "bias" in params:
            zs = tuple(z + align(b.astype(z.dtype), z) for z, b in zip(zs, params["bias"], strict=True))
        return tuple(z.astype(compute) for z in zs)

    def cast(params: Params, dtype: Any) -> Params:
        return params | {"recurrent_kernel": params["recurrent_kernel"].astype(dtype)}

    return Cell(init, init_carry, project, step, None, "dense", num_feature_axes=1 + spatial, cast=cast)


def state_convolved(state: Array, kernel: Array, dtype: Any) -> tuple[Array, ...]:
    """Returns `state [..., *spatial, H] ∗ kernel [*window, H, G, H]`, of the size of `state`, an array per gate."""
    ones = (1,) * (kernel.ndim - 3)
    return _convolved(state, kernel, dtype, Window(kernel.shape[:-3], "same", ones, ones))


def _convolved(xs: Array, kernel: Array, dtype: Any, window: Window) -> tuple[Array, ...]:
    """Returns `xs [..., *spatial, C] ∗ kernel [*window, C, G, H]`, an array `[..., *spatial, H]` per gate.

    The convolution returns `dtype`, which is then cast to its accumulator: JAX cannot differentiate a convolution that
    returns a wider type than it takes.
    """
    spatial = len(window.size)
    form = SPACE[:spatial]
    images = xs.reshape(math.prod(xs.shape[: -1 - spatial]), *xs.shape[-1 - spatial :]).astype(dtype)
    flat = kernel.reshape(*kernel.shape[:-2], -1).astype(dtype)
    convolve = partial(
        lax.conv_general_dilated,
        window_strides=window.strides,
        padding=window.padding.upper(),
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{form}C", f"{form}IO", f"N{form}C"),
    )
    out = convolve(images, flat)
    out = out.reshape(*xs.shape[: -1 - spatial], *out.shape[1:]).astype(accumulator(dtype))
    return tuple(jnp.split(out, kernel.shape[-2], axis=-1))
