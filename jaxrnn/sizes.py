"""Sizes that may be unknown while a program is traced: `jax.export` gives symbols to a batch or a number of steps."""

from numbers import Integral
from typing import Any


def is_known(size: Any) -> bool:
    """Whether `size` is a number; a symbol stands for many, and is compared with none of them."""
    return isinstance(size, Integral)


def at_least(size: Any, bound: int) -> bool:
    """Whether `size` is known to reach `bound`: what is not known counts as small."""
    return is_known(size) and size >= bound
