"""Checks what the loops over a user's `step(carry, tokens) -> (carry, logits)` are given."""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.types import Array, Carry

Step = Callable[[Carry, Array], tuple[Carry, Array]]


def tokens_of(where: str, name: str, tokens: Any, axes: int, layout: str) -> Array:
    """Returns token ids as an array after checking that they are integers with at least `axes` axes."""
    checks.check_array_like(f"{where}: {name}", tokens)
    tokens = jnp.asarray(tokens)
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise checks.ShapeError(f"{where}: {name} has dtype {tokens.dtype}, expected an integer one: token ids")
    if tokens.ndim < axes:
        raise checks.ShapeError(f"{where}: {name} has shape {tokens.shape}, expected {layout}")
    return tokens


def started(where: str, step: Step, carry: Carry, first: Array, *, name: str = "first") -> tuple[Carry, int]:
    """Returns the carry as arrays of the dtypes that `step` returns, since a loop needs them equal, and the vocabulary.

    `first` is the first input of `step`, which comes from the argument of this `name`.

    Raises:
      ShapeError: the leaves of the carry do not begin with the axes of `first`, `step` changes the shape of the carry,
        or does not return logits `[*batch, V]`.
    """
    batch, because = first.shape, f"the batch {first.shape} of {name}"
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        part = f"carry{jax.tree_util.keystr(path)}"
        checks.check_array_like(f"{where}: {part}", leaf)
        shape = jnp.shape(leaf)
        if shape[: len(batch)] != batch:
            raise checks.ShapeError(f"{where}: {part} has shape {shape}, expected one that begins with {because}")
    made = jax.eval_shape(step, carry, first)
    if not isinstance(made, tuple) or len(made) != 2:
        raise checks.ShapeError(f"{where}: step returns {checks.a_kind(made)}, expected (carry, logits)")
    after, logits = made
    found, expected = str(jax.tree.structure(after)), str(jax.tree.structure(carry))
    if found != expected:
        raise checks.ShapeError(f"{where}: step returns a carry of structure {found}, expected {expected}")
    carry = jax.tree_util.tree_map_with_path(partial(_as_after, where), carry, after)
    if not hasattr(logits, "shape") or logits.shape[:-1] != batch or logits.ndim != len(batch) + 1:
        found = f"of shape {logits.shape}" if hasattr(logits, "shape") else f"that are {checks.a_kind(logits)}"
        raise checks.ShapeError(f"{where}: step returns logits {found}, expected [*batch, V] with {because}")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise checks.ShapeError(f"{where}: step returns logits of dtype {logits.dtype}, expected a floating one")
    return carry, logits.shape[-1]


def _as_after(where: str, path: Any, leaf: Any, after: jax.ShapeDtypeStruct) -> Array:
    if jnp.shape(leaf) != after.shape:
        name = f"carry{jax.tree_util.keystr(path)}"
        raise checks.ShapeError(f"{where}: step returns {name} of shape {after.shape}, expected {jnp.shape(leaf)}")
    return jnp.asarray(leaf, after.dtype)


def check_eos(where: str, eos: int | None, size: int) -> None:
    """Checks that `eos`, if any, is one of `size` token ids."""
    if eos is not None and not 0 <= eos < size:
        raise ValueError(f"{where}: eos is {eos}, expected a token id from 0 to {size - 1}, or None")


def check_scalar(where: str, name: str, value: Any, fits: Callable[[float], bool], words: str) -> None:
    """Checks a number that may also be traced: its shape then, and its value where it is known."""
    if isinstance(value, jax.core.Tracer):
        checks.check_shape(where, name, value, (), "one number for all sequences")
        return
    is_number = isinstance(value, Real | jax.Array) and not isinstance(value, bool) and not getattr(value, "ndim", 0)
    if not is_number or not fits(float(value)):
        raise ValueError(f"{where}: {name} is {checks.spelled(value)}, expected {words}")
