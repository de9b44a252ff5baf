"""The carries of the package's cells: named fields, each `[*batch, …]`."""

from typing import NamedTuple, TypeVar

from jax import export

from jaxrnn.types import Array

AnyCarry = TypeVar("AnyCarry", bound=type)


def serializable(carry: AnyCarry) -> AnyCarry:
    """`carry`, a NamedTuple class, made known to `jax.export`, which stores a program's trees by name.

    The name stays the same wherever the class is, so that stored programs can be read by later versions.
    """
    export.register_namedtuple_serialization(carry, serialized_name=f"jaxrnn.{carry.__name__}")
    return carry


@serializable
class BegunCarry(NamedTuple):
    """`h [*batch, H]`, the state, and `begun [*batch]`, 1 after a sequence's first step and 0 before it."""

    h: Array
    begun: Array


@serializable
class ComplexCarry(NamedTuple):
    """`real [*batch, H]` and `imag [*batch, H]`, the parts of a complex state."""

    real: Array
    imag: Array


@serializable
class ElmanCarry(NamedTuple):
    """`h [*batch, H]`."""

    h: Array


@serializable
class GRUCarry(NamedTuple):
    """`h [*batch, H]`."""

    h: Array


@serializable
class HiddenCarry(NamedTuple):
    """`h [*batch, H]`, of any other cell that has no state but its output."""

    h: Array


@serializable
class LSTMCarry(NamedTuple):
    """`c [*batch, H]`, the memory, and `h [*batch, H]`, the output."""

    c: Array
    h: Array


@serializable
class MLSTMCarry(NamedTuple):
    """`C [*batch, heads, K, V]`, the memory; `n [*batch, heads, K]`, its normalizer; and `m [*batch, heads]`.

    Both are scaled by `exp(−m)`, which keeps them in the range of numbers.
    """

    C: Array
    n: Array
    m: Array


@serializable
class MatrixCarry(NamedTuple):
    """`S [*batch, heads, K, V]`, a matrix a head."""

    S: Array
