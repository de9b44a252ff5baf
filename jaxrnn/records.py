"""The functions of the records that constructors return, with a guard before each: what a user calls by hand."""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from jaxrnn import checks, trees
from jaxrnn.types import Array, Carry, Cell, Layer, Params

# Functions with a guard. The layer of a cell takes over the cell's, so that what is remembered for it, the shapes of
# its parameters, is not computed anew for each layer around it.
_GUARDED: WeakSet[Callable[..., Any]] = WeakSet()


def guarded(where: str, made: Any) -> Any:
    """`made`; of a `Cell` or a `Layer`, with functions that check what they are given and take any mapping."""
    if isinstance(made, Cell):
        return made._replace(init=_init(where, made), init_carry=_init_carry(where, made))
    if isinstance(made, Layer):
        return made._replace(
            init=_init(where, made),
            init_carry=_init_carry(where, made),
            apply=_apply(where, made),
            step=None if made.step is None else _step(where, made.step),
        )
    return made


def _init(where: str, made: Cell | Layer) -> Callable[..., Params]:
    inner = made.init
    if isinstance(made, Layer) and inner in _GUARDED:
        return inner

    def init(key: Array, in_features: int | Array | None = None) -> Params:
        checks.check_key(f"{where}.init", key)
        return inner(key, checks.width_of_inputs(f"{where}.init", in_features))

    _GUARDED.add(init)
    return init


def _init_carry(where: str, made: Cell | Layer) -> Callable[..., Carry]:
    inner = made.init_carry
    if isinstance(made, Layer) and inner in _GUARDED:
        return inner

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        checks.check_batch_shape(f"{where}.init_carry", batch_shape)
        return inner(trees.plain(f"{where}.init_carry", params), tuple(batch_shape))

    _GUARDED.add(init_carry)
    return init_carry


def _apply(where: str, made: Layer) -> Callable[..., tuple[Carry, Any]]:
    inner = made.apply

    def apply(
        params: Params,
        carry: Carry | None,
        xs: Array,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Carry, Any]:
        if key is not None:
            checks.check_key(where, key)
        params = trees.plain(where, params)
        return inner(params, carry, xs, lengths=lengths, mask=mask, resets=resets, key=key)

    return apply


def _step(where: str, inner: Callable[..., tuple[Carry, Any]]) -> Callable[..., tuple[Carry, Any]]:
    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Any]:
        return inner(trees.plain(where, params), carry, x)

    return step
