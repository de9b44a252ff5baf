"""Layers that act at each step alone: what they share around their maths."""

from collections.abc import Callable

from jaxrnn import checks, trees
from jaxrnn.recurrence.loop import silence, valid_steps
from jaxrnn.types import Array, Carry, Layer, Params


def stepwise(
    name: str,
    init: Callable[[Array, int], Params],
    outputs: Callable[[Params, Array, Array | None, Array | None], Array],
    *,
    draws: bool = False,
) -> Layer:
    """A layer without a carry, of `outputs(params, xs, valid, key)`, which is given zeros at invalid steps.

    Lengths, masks and resets tell by their axes how many axes of `xs` belong to one step, so that any may be spatial.
    """

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        del params, batch_shape
        return ()

    def apply(
        params: Params,
        carry: Carry | None,
        xs: Array,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Carry, Array]:
        xs = checks.xs_of(name, xs)
        if carry is not None:
            trees.check_tree(name, "carry", carry, (), "a layer without a state")
        trees.check_params(name, layer, params, xs.shape[-1], checks.shape_words(xs))
        checks.check_steps(name, xs, lengths, mask, resets, features=None)
        valid = valid_steps(lengths, mask, xs.shape[0])
        return (), silence(valid, outputs(params, silence(valid, xs), valid, key))

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        x = checks.xs_of(name, x, name="x", axes=1, layout="[*batch, D]")
        trees.check_params(name, layer, params, x.shape[-1], f"x of shape {x.shape}")
        trees.check_tree(name, "carry", carry, (), "a layer without a state")
        return carry, outputs(params, x, None, None)

    layer = Layer(init, init_carry, apply, step, draws=draws)
    return layer
