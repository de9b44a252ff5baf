"""Checks arrays, sizes and options: an error names the argument, its value, the expected one, and a remedy."""

from numbers import Integral, Real
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.types import Array


class ShapeError(AssertionError, ValueError):
    """A shape, dtype or structure does not fit: an AssertionError, as from chex, and a ValueError."""


def xs_of(
    where: str, xs: Any, *, name: str = "xs", axes: int = 2, layout: str = "[T, *batch, D]", features: int = 1
) -> Array:
    """Returns `xs` as an array after checking that it is floating and has its axes, `features` of them per step."""
    if not isinstance(xs, Real):
        check_array_like(f"{where}: {name}", xs)
    xs = jnp.asarray(xs)
    if xs.ndim < axes - 1 + features:
        if features == 1:
            remedy = f"a sequence of scalars needs {name}[..., None]"
        else:
            layout, remedy = layout.replace(" D]", " *spatial, D]"), f"this cell has {features - 1} spatial axes"
        raise ShapeError(f"{where}: {name} has shape {xs.shape}, expected {layout}; {remedy}")
    if not jnp.issubdtype(xs.dtype, jnp.floating):
        remedy = "one-hot or embed integer tokens"
        if jnp.issubdtype(xs.dtype, jnp.complexfloating):
            remedy = f"jnp.concatenate([{name}.real, {name}.imag], -1) has the two parts as features"
        raise ShapeError(f"{where}: {name} has dtype {xs.dtype}, expected a floating one; {remedy}")
    if xs.shape[-1] == 0:
        raise ShapeError(f"{where}: {name} has shape {xs.shape}, expected {layout} with D of 1 or more")
    return xs


def inputs_of(
    where: str, xs: Any, features: int, *, name: str = "xs", axes: int = 2, layout: str = "[T, *batch, D]"
) -> Array:
    """Returns `xs` as an array for a model with `features` feature axes: token ids where there are none."""
    if features != 0:
        return xs_of(where, xs, name=name, axes=axes, layout=layout, features=features)
    check_array_like(f"{where}: {name}", xs)
    xs = jnp.asarray(xs)
    if not jnp.issubdtype(xs.dtype, jnp.integer):
        raise ShapeError(f"{where}: {name} has dtype {xs.dtype}, expected an integer one: this model embeds token ids")
    if xs.ndim < axes - 1:
        raise ShapeError(f"{where}: {name} has shape {xs.shape}, expected {layout.replace(', D]', ']')}")
    return xs


def floating(where: str, name: str, value: Any, axes: int, layout: str, *, may_be_complex: bool = False) -> Array:
    """Returns `value` as an array with at least `axes` axes, floating, or complex if `may_be_complex`."""
    check_array(where, name, value)
    value = jnp.asarray(value)
    if value.ndim < axes:
        raise ShapeError(f"{where}: {name} has shape {value.shape}, expected {layout}")
    if not jnp.issubdtype(value.dtype, jnp.inexact if may_be_complex else jnp.floating):
        kind = "floating or complex" if may_be_complex else "floating"
        raise ShapeError(f"{where}: {name} has dtype {value.dtype}, expected a {kind} one; cast it")
    return value


def check_shape(where: str, name: str, array: Any, expected: tuple[int, ...], because: str) -> None:
    """Checks one shape; the error reads `unroll: carry.h has shape (8, 32), expected (16, 32) from …`."""
    check_array_like(f"{where}: {name}", array)
    try:
        chex.assert_shape(array, expected)
    except AssertionError:
        found = tuple(jnp.shape(array))
        raise ShapeError(f"{where}: {name} has shape {found}, expected {tuple(expected)} from {because}") from None


def check_array(where: str, name: str, value: Any) -> None:
    """Checks that a value is an array of NumPy or JAX: a list could be a batch or a mistake."""
    if not isinstance(value, np.ndarray | np.generic | jax.Array):
        raise ShapeError(f"{where}: {name} is {a_kind(value)}, expected an array; jnp.asarray makes one")


def check_array_like(what: str, value: Any) -> None:
    """Checks that JAX takes a value for one array: a number or any library's array, but no list, tuple or text."""
    if not isinstance(value, Real) and not all(hasattr(value, name) for name in ("shape", "dtype")):
        raise ShapeError(f"{what} is {a_kind(value)}, expected an array; jnp.asarray makes one")


def a_kind(value: Any) -> str:
    """Returns the type of a value in words: `a list`, `an int`, `None`."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def spelled(value: Any) -> str:
    """Returns the `repr` of a value if it is short, otherwise its type."""
    if isinstance(value, jax.core.Tracer):
        return "a traced value"
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array of shape {value.shape}"
    said = repr(value)
    return said if len(said) <= 80 and "\n" not in said else a_kind(value)


def is_key(value: Any) -> bool:
    """Returns whether a value is one PRNG key of JAX, typed or of raw bits."""
    if not isinstance(value, np.ndarray | jax.Array):
        return False
    typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return value.ndim == 0 if typed else value.ndim == 1 and value.dtype == np.uint32


def check_key(where: str, key: Any) -> None:
    """Checks that `key` is one PRNG key, and not a seed."""
    if not is_key(key):
        several = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        remedy = "jax.vmap takes several" if several else "jax.random.key(0) makes one of a seed"
        raise ShapeError(f"{where}: key is {spelled(key)}, expected one PRNG key; {remedy}")


def check_bool(where: str, name: str, value: Any) -> None:
    """Checks for True or False: a str would count as True, and a traced value is unknown."""
    if not isinstance(value, bool | np.bool_):
        remedy = f"; static_argnames={name!r} of jax.jit" if isinstance(value, jax.core.Tracer) else ""
        raise ValueError(f"{where}: {name} is {spelled(value)}, expected True or False{remedy}")


def no_width(where: str, given: Any) -> int | None:
    """Returns None after checking that `given` is None or an example of token ids, which have no features."""
    example = isinstance(given, np.ndarray | jax.Array | jax.ShapeDtypeStruct)
    if given is not None and not (example and jnp.issubdtype(given.dtype, jnp.integer)):
        raise ShapeError(f"{where}: in_features is {spelled(given)}, expected None: token ids have no features")
    return None


def width_of_inputs(where: str, given: Any) -> int:
    """Returns D, given the number itself or an example input, whose last axis it is."""
    if isinstance(given, np.ndarray | jax.Array | jax.ShapeDtypeStruct) and given.ndim > 0:
        if not jnp.issubdtype(given.dtype, jnp.inexact):
            raise ShapeError(
                f"{where}: in_features is an example input of dtype {given.dtype}, expected a floating one; one-hot or "
                "embed integer tokens"
            )
        given = given.shape[-1]
    if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
        raise ShapeError(
            f"{where}: in_features is {spelled(given)}, expected an int of 1 or more, or an example input whose last "
            "axis it is"
        )
    return int(given)


def check_batch_shape(where: str, shape: Any) -> None:
    """Checks that `shape` is a tuple of sizes, some of which may be symbols of `jax.export`."""
    if not isinstance(shape, tuple | list):
        remedy = f"; ({shape},) has one batch axis" if isinstance(shape, Integral) else ""
        raise ShapeError(f"{where}: batch_shape is {spelled(shape)}, expected a tuple of ints{remedy}")
    for size in shape:
        known = isinstance(size, Real | str | jax.Array) or size is None
        if known and (isinstance(size, bool) or not isinstance(size, Integral) or size < 0):
            raise ShapeError(f"{where}: batch_shape is {spelled(shape)}, expected a tuple of ints of 0 or more")


def check_flags(where: str, name: str, flags: Any, expected: tuple[int, ...], because: str) -> None:
    """Checks that `flags` is a bool array of this shape."""
    check_array(where, name, flags)
    if not jnp.issubdtype(jnp.result_type(flags), jnp.bool_):
        raise ShapeError(
            f"{where}: {name} has dtype {jnp.result_type(flags)}, expected bool; compare with 0 to make one"
        )
    check_shape(where, name, flags, expected, because)


def check_lengths(where: str, lengths: Any, expected: tuple[int, ...], because: str, *, name: str = "lengths") -> None:
    """Checks that `lengths` is an integer array of this shape, and not negative if its values are on the host."""
    check_array(where, name, lengths)
    if not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise ShapeError(f"{where}: {name} has dtype {jnp.result_type(lengths)}, expected an integer one")
    check_shape(where, name, lengths, expected, because)
    if _on_host(lengths) and np.size(lengths) and (least := np.min(np.asarray(lengths))) < 0:
        raise ShapeError(f"{where}: {name} has an entry {least}, expected lengths of 0 or more")


def _on_host(array: Any) -> bool:
    """Returns whether no transfer is needed to read an array: NumPy's, or JAX's on one CPU device."""
    if isinstance(array, jax.core.Tracer) or not isinstance(array, jax.Array):
        return not isinstance(array, jax.Array)
    return array.is_fully_addressable and [device.platform for device in array.devices()] == ["cpu"]


def check_steps(
    where: str, xs: Array, lengths: Any, mask: Any, resets: Any, features: int | None = 1, *, name: str = "xs"
) -> None:
    """Checks `lengths`, `mask` and `resets` against `xs [T, *batch, D]`, whose last `features` axes belong to one step.

    If `features` is None, for layers that act on each step alone, the flags decide their number.
    """
    if features is None:
        axes = [1 + np.ndim(lengths)] if lengths is not None else []
        axes += [np.ndim(flags) for flags in (mask, resets) if flags is not None]
        features = max(1, xs.ndim - max(axes, default=0))
    because, steps = shape_words(xs, name), xs.shape[: xs.ndim - features]
    if lengths is not None and mask is not None:
        raise ValueError(
            f"{where}: lengths and mask are both given, expected at most one; put the lengths into the mask"
        )
    if lengths is not None:
        check_lengths(where, lengths, steps[1:], because)
    for name, flags in (("mask", mask), ("resets", resets)):
        if flags is not None:
            check_flags(where, name, flags, steps, because)


def check_choice(where: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{where}: {name} is {value!r}, expected one of {', '.join(map(repr, choices))}")


def check_finite(where: str, name: str, value: Any, remedy: str) -> None:
    """Checks that an array has no NaN or infinity; a traced one has no values yet, and passes."""
    if not isinstance(value, jax.core.Tracer) and not np.isfinite(jax.device_get(value)).all():
        raise ValueError(f"{where}: {name} is not finite, expected finite values; {remedy}")


def check_loss(where: str, value: Any, remedy: str = "a mean or a sum is one") -> None:
    """Checks that what a loss returned, an array or its shape and dtype, is one floating number."""
    shape, dtype = getattr(value, "shape", ()), getattr(value, "dtype", type(value))
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        found = f"shape {shape} and dtype {dtype}" if hasattr(value, "shape") else a_kind(value)
        raise ValueError(f"{where}: loss returns {found}, expected one floating number; {remedy}")


def check_positive(where: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{where}: {name} is {spelled(value)}, expected an int of 1 or more")


def check_at_least(where: str, name: str, value: int, least: int, because: str) -> None:
    """Checks that an int is `least` or more; the error reads `adding: length is 1, expected 2 or more: …`."""
    if value < least:
        raise ValueError(f"{where}: {name} is {value}, expected {least} or more: {because}")


def check_time_steps(where: str, dt_min: float, dt_max: float) -> None:
    """Checks the range of a state space model's initial time steps."""
    if not 0 < dt_min < dt_max:
        raise ValueError(f"{where}: dt_min is {dt_min} and dt_max {dt_max}, expected 0 < dt_min < dt_max")


def check_rate(where: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{where}: {name} is {value!r}, expected a number with 0 ≤ {name} < 1")


def head_sizes(where: str, features: int, options: Any) -> tuple[int, int, int]:
    """Returns the heads of these options, and the keys and values of each: an equal part of `features` if not given."""
    heads, keys, values = options["heads"], options["keys"], options["values"]
    if (keys is None or values is None) and features % heads:
        raise ValueError(f"{where}: heads is {heads}, expected a divisor of features, {features}, or keys and values")
    return heads, keys or features // heads, values or features // heads


def check_as_wide(where: str, in_features: int, features: int) -> None:
    """Checks that inputs are as wide as the state, which they enter without a kernel."""
    if in_features != features:
        raise ShapeError(
            f"{where}: inputs have {in_features} features, expected {features}, the width of the state; "
            "use_value_kernel=True takes any"
        )


def check_remat(where: str, remat: Any) -> None:
    if remat is None or remat in ("step", "carries", "sqrt", "recursive"):
        return
    if isinstance(remat, bool) or not isinstance(remat, int) or remat < 1:
        raise ValueError(
            f"{where}: remat is {remat!r}, expected None, 'step', 'carries', 'sqrt', 'recursive' or an int of 1 or more"
        )


def shape_words(xs: Array, name: str = "xs") -> str:
    """Returns `xs of shape (T=10, 16, 64)`, for errors."""
    return f"{name} of shape ({', '.join([f'T={xs.shape[0]}', *map(str, xs.shape[1:])])})"
