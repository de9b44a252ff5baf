"""Says what the GPU kernel of `rows_kernel.py` can run, and with how many rows to a program; refuses the rest."""

import math
from typing import Any, NamedTuple

import jax

from jaxrnn.precision import accumulator
from jaxrnn.recurrence.fused import Operands, Steps
from jaxrnn.recurrence.gates import Spec
from jaxrnn.recurrence.hoisted import Hoisted, hoist, mixing, unknown
from jaxrnn.recurrence.padding import NARROWEST, width
from jaxrnn.sharding import is_placed
from jaxrnn.sizes import is_known
from jaxrnn.types import Array

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
    """`pointwise`, of one row with padded features; `values`, its values' own shapes; `spec` with a `then` of rows."""

    pointwise: Hoisted
    values: list[jax.ShapeDtypeStruct]
    known: Any
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

    def row(a: Array, lead: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(a.shape[lead:], a.dtype)

    batch = operands.xs.ndim - 2
    carry = jax.tree.map(lambda a: row(a, batch), operands.carry)
    gate = jax.ShapeDtypeStruct((features,), wide)
    each = tuple((gate, gate) if g in spec.paired else gate for g in range(spec.gates))
    small = jax.tree.map(lambda a: row(a, 0), operands.weights.small)
    exact, padded = _both("pointwise", features, spec.pointwise, small, carry, each)
    return Local(padded, exact.values, exact.known, spec._replace(then=_then(spec, operands, steps, carry)))


def _then(spec: Spec, operands: Operands, steps: Steps, carry: Any) -> Any:
    if spec.then is None:
        return None
    inner = operands.xs.ndim - 1
    masks = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[inner:], a.dtype), steps.masks)
    then, y = spec.then, jax.ShapeDtypeStruct(carry.h.shape, spec.dtype)
    _, padded = _both(
        "what follows a step", carry.h.shape[-1], lambda _, *args: then(*args), (), carry, carry, y, masks
    )
    if padded.values:
        raise _refused("cannot read the arrays that a function after each step closes over")
    return jax.vmap(lambda *args: padded.rest([], *args))


def _both(name: str, features: int, function: Any, params: Any, *args: Any) -> tuple[Hoisted, Hoisted]:
    """Returns the function split with its own widths, and with padded ones."""
    exact = hoist(function, params, *args)
    if strange := unknown(exact):
        raise _refused(f"cannot compute {', '.join(strange)}, found in {name}")
    if odd := [v.shape for v in exact.values if _padded(v, features).size & (_padded(v, features).size - 1)]:
        raise _refused(f"reads parameters as scalars or [H], found one of shape {odd[0]} in {name}")
    shapes = jax.tree.map(lambda a: _padded(a, features), (params, *args))
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


def _padded(a: Any, features: int) -> jax.ShapeDtypeStruct:
    ours = a.shape and a.shape[-1] == features
    return jax.ShapeDtypeStruct((*a.shape[:-1], width(features)) if ours else a.shape, a.dtype)


def _refused(why: str) -> ValueError:
    return ValueError(f"unroll: method='kernel' on cuda {why}; method='fused' runs it")
