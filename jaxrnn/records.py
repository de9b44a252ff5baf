"""Adds checks to the functions of a record that users call directly."""

from typing import Any

from jaxrnn import checks, trees
from jaxrnn.types import Array, Carry, Params


def guarded(where: str, made: Any) -> Any:
    """Returns a `Cell` or a `Layer` whose `init` and `init_carry` check their arguments and take any mapping."""
    draw, start = made.init, made.init_carry
    width = checks.no_width if made.num_feature_axes == 0 else checks.width_of_inputs

    def init(key: Array, in_features: int | Array | None = None) -> Params:
        checks.check_key(f"{where}.init", key)
        return draw(key, width(f"{where}.init", in_features))

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        checks.check_batch_shape(f"{where}.init_carry", batch_shape)
        return start(trees.plain(f"{where}.init_carry", params), tuple(batch_shape))

    return made._replace(init=init, init_carry=init_carry)
