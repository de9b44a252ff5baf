"""`last` returns the last valid output of each sequence, which classifiers read."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import select, valid_steps
from jaxrnn.types import Array


@checked
def last(ys: Array, *, lengths: Array | None = None, mask: Array | None = None) -> Array:
    """Returns the last valid output of each sequence.

    Args:
      ys: outputs `[T, *batch, H]`, as `unroll` returns them.
      lengths: valid steps of each sequence, int `[*batch]`; all T if None.
      mask: valid steps, bool `[T, *batch]`, any pattern; instead of `lengths`.

    Returns:
      `[*batch, H]`; 0 for a sequence without a valid step.

    Raises:
      ShapeError: a shape or dtype does not fit.
      ValueError: `lengths` and `mask` are both given.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> ys = jnp.arange(6.0).reshape(3, 2, 1)
      >>> jaxrnn.last(ys, lengths=jnp.array([3, 1])).tolist()
      [[4.0], [1.0]]
    """
    ys = checks.floating("last", "ys", ys, 2, "[T, *batch, H]")
    checks.check_steps("last", ys, lengths, mask, None, name="ys")
    return _last(ys, lengths, mask)


@jax.jit
def _last(ys: Array, lengths: Any, mask: Any) -> Array:
    total = ys.shape[0]
    if total == 0:
        return jnp.zeros(ys.shape[1:], ys.dtype)
    valid = valid_steps(lengths, mask, total)
    if valid is None:
        return ys[-1]
    at = total - 1 - jnp.argmax(jnp.flip(valid, 0), 0)
    found = jnp.take_along_axis(ys, at[None, ..., None], axis=0)[0]
    return select(valid.any(0), found, jnp.zeros_like(found))
