"""The carries of the package's cells: named fields, each `[*batch, …]`."""

from typing import NamedTuple

from jaxrnn.types import Array


class BegunCarry(NamedTuple):
    """`h [*batch, H]`, the state, and `begun [*batch]`, 1 after a sequence's first step and 0 before it."""

    h: Array
    begun: Array


class ComplexCarry(NamedTuple):
    """`real [*batch, H]` and `imag [*batch, H]`, the parts of a complex state."""

    real: Array
    imag: Array


class ElmanCarry(NamedTuple):
    """`h [*batch, H]`."""

    h: Array


class GRUCarry(NamedTuple):
    """`h [*batch, H]`."""

    h: Array


class HiddenCarry(NamedTuple):
    """`h [*batch, H]`, of any other cell that has no state but its output."""

    h: Array


class LSTMCarry(NamedTuple):
    """`c [*batch, H]`, the memory, and `h [*batch, H]`, the output."""

    c: Array
    h: Array


class MLSTMCarry(NamedTuple):
    """`C [*batch, heads, K, V]`, the memory; `n [*batch, heads, K]`, its normalizer; and `m [*batch, heads]`.

    Both are scaled by `exp(−m)`, which keeps them in the range of numbers.
    """

    C: Array
    n: Array
    m: Array


class MatrixCarry(NamedTuple):
    """`S [*batch, heads, K, V]`, a matrix a head."""

    S: Array
