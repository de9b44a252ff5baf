"""Defines the carries of the package's cells: their fields are `[*batch, …]`."""

from typing import NamedTuple, TypeVar

from jax import export

from jaxrnn.types import Array

AnyCarry = TypeVar("AnyCarry", bound=type)


def serializable(carry: AnyCarry) -> AnyCarry:
    """Registers a NamedTuple class with `jax.export`, which stores a program's trees by name, and returns the class.

    The name does not depend on the module, so that later versions can read stored programs.
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
class HiddenCarry(NamedTuple):
    """`h [*batch, H]`, the one state of a cell."""

    h: Array


@serializable
class LSTMCarry(NamedTuple):
    """`c [*batch, H]`, the cell state, and `h [*batch, H]`, the hidden state, which is the output."""

    c: Array
    h: Array


@serializable
class MLSTMCarry(NamedTuple):
    """`C [*batch, heads, K, V]`, the cell state; `n [*batch, heads, K]`, its normaliser; and `m [*batch, heads]`.

    `C` and `n` are scaled by `exp(−m)`, which avoids overflow.
    """

    C: Array
    n: Array
    m: Array


@serializable
class MatrixCarry(NamedTuple):
    """`S [*batch, heads, K, V]`, a matrix per head."""

    S: Array


@serializable
class QRNNCarry(NamedTuple):
    """`c [*batch, H]`, the state, and `pending [*batch, N − 1, G * H]`, the sums of past inputs for the next gates.

    N is the number of inputs that the gates see.
    """

    c: Array
    pending: Array
