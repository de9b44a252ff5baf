"""Says what the GPU kernel of `rows_kernel.py` can run, and with how many rows to a program; refuses the rest."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from jaxrnn.precision import accumulator
from jaxrnn.recurrence.fused import Operands, Steps
from jaxrnn.recurrence.gates import Spec
from jaxrnn.recurrence.hoisted import Hoisted, hoist, mixing, unknown
from jaxrnn.recurrence.padding import NARROWEST, width
from jaxrnn.sharding import is_placed
from jaxrnn.sizes import is_known
from jaxrnn.types import Array, Params

WIDEST = 256  # a program holds a row's state and gates in registers, of which an H100 has 255 to a thread
DTYPES = ("bfloat16", "float16", "float32", "float64")
PROGRAMS = 128  # about as many as large GPUs have multiprocessors: with more rows, programs get more rows each
HELD = 16 * WIDEST  # numbers of one array that a program holds


class Layout(NamedTuple):
    """`batch`, the batch axes; `rows`, their product with padding; `block`, how many of these a program has."""

    batch: tuple[int, ...]
    rows: int
    block: int


class Local(NamedTuple):
    """The functions that act on one row, with padded features.

    Attributes:
      pointwise: that of `spec`.
      known: `(params) -> values` of `pointwise`, without padding.
      spec: with a `then` of rows.
    """

    pointwise: Hoisted
    known: Callable[[Params], list[Array]]
    spec: Spec


def layout(spec: Spec, operands: Operands) -> Layout:
    """Returns the layout of the batch, or refuses dtype and sizes.

    Raises:
      ValueError: the kernel cannot run these operands.
    """
    xs = operands.xs
    features = max(operands.weights.kernel.shape[-1], operands.carry.h.shape[-1])
    if not all(is_known(n) for n in (*xs.shape, features)):
        raise _refused(f"needs sizes that are numbers, found xs of shape {xs.shape}")
    if str(spec.dtype) not in DTYPES:
        raise _refused(f"computes in {', '.join(DTYPES)}, found dtype {spec.dtype}")
    if features > WIDEST:
        raise _refused(f"holds at most {WIDEST} features, found {features}")
    if is_placed(operands):
        raise _refused("does not see shardings in types, found an array that has one; shard_map(check_vma=False) does")
    batch = xs.shape[1:-1]
    count = math.prod(batch)
    each = block(count, features)
    return Layout(batch, -(-count // each) * each, each)


def block(count: int, features: int) -> int:
    """Returns the rows of a program: more than the fewest only where these would make too many programs."""
    rows = NARROWEST
    while rows * PROGRAMS < count and 2 * rows * width(features) <= HELD:
        rows *= 2
    return rows


def local(spec: Spec, operands: Operands, steps: Steps) -> Local:
    """Returns the functions that act on one row, or refuses them.

    Raises:
      ValueError: the kernel cannot compute `pointwise`, or not with this many features.
    """
    features, wide = operands.weights.kernel.shape[-1], accumulator(spec.dtype)

    def without(lead: int, tree: Any) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[lead:], a.dtype), tree)

    batch = operands.xs.ndim - 2
    carry = without(batch, operands.carry)
    gate = jax.ShapeDtypeStruct((features,), wide)
    each = tuple((gate, gate) if g in spec.paired else gate for g in range(spec.gates))
    small = without(0, operands.weights.small)
    exact, padded = _both("pointwise", features, spec.pointwise, small, carry, each)
    if spec.then is not None:
        spec = spec._replace(then=_then(spec.then, carry, spec.dtype, without(batch + 1, steps.masks)))
    return Local(padded, exact.known, spec)


def _then(then: Any, carry: Any, dtype: Any, masks: Any) -> Any:
    """Returns `then` for rows with padded features."""
    y = jax.ShapeDtypeStruct(carry.h.shape, dtype)
    _, padded = _both(
        "what follows a step", carry.h.shape[-1], lambda _, *args: then(*args), (), carry, carry, y, masks
    )
    if padded.values:
        raise _refused("cannot read the arrays that a function after each step closes over")
    return jax.vmap(partial(padded.rest, []))


def _both(name: str, features: int, function: Any, params: Any, *args: Any) -> tuple[Hoisted, Hoisted]:
    """Returns the function split with its own widths, and with padded ones."""
    exact = hoist(function, params, *args)

    def ours(a: Any) -> Any:
        return _padded(a) if a.shape and a.shape[-1] == features else a

    if strange := unknown(exact):
        raise _refused(f"cannot compute {', '.join(strange)}, found in {name}")
    if odd := [v.shape for v in exact.values if ours(v).size & (ours(v).size - 1)]:
        raise _refused(f"reads parameters as scalars or [H], found one of shape {odd[0]} in {name}")
    shapes = (jax.tree.map(ours, params), *jax.tree.map(_padded, args))
    if shapes == (params, *args):
        return exact, exact
    try:
        padded = hoist(function, *shapes)
    except (TypeError, ValueError):  # an array that the function closes over does not fit
        padded = None
    if padded is None or mixing(exact, padded):
        raise _refused(
            f"pads features to a power of two from {NARROWEST} on, found {features} of them and {name}, which does "
            "not treat each alone; such a power would do"
        )
    return exact, padded


def _padded(a: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*a.shape[:-1], width(a.shape[-1])) if a.shape else (), a.dtype)


def _refused(why: str) -> ValueError:
    return ValueError(f"unroll: method='kernel' on cuda {why}; method='fused' runs it")
