"""Tests sizes that may be unknown while a program is traced: `jax.export` has symbols for a batch or for T."""

from numbers import Integral
from typing import Any


def is_known(size: Any) -> bool:
    """Returns whether `size` is a number, not a symbol, which cannot be compared with one."""
    return isinstance(size, Integral)


def at_least(size: Any, bound: int) -> bool:
    """Returns whether `size` is known to reach `bound`: a symbol counts as small."""
    return is_known(size) and size >= bound
