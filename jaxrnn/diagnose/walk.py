"""Takes a model through a sequence step by step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import trees
from jaxrnn.driver import batch_of, run_step
from jaxrnn.recurrence.elapsed import with_elapsed
from jaxrnn.recurrence.loop import hold, select, silence, valid_steps
from jaxrnn.types import Array, Carry, Cell, Layer, Params
from jaxrnn.unroll import checked_call


class Walk(NamedTuple):
    """The arrays of a run of a model, one step after another.

    Attributes:
      params: of the model.
      carry: the initial carry, in the dtypes that a step returns.
      xs: inputs `[T, *batch, ...]`, 0 at invalid steps.
      valid: bool `[T, *batch]`; None: all valid.
      resets: bool `[T, *batch]`; None: no resets.
      context: of the call; None: nothing.
    """

    params: Params
    carry: Carry
    xs: Array
    valid: Array | None
    resets: Array | None
    context: Any


def walk(
    where: str,
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    context: Any = None,
) -> Walk:
    """Returns the run after checking the arguments as `unroll` does; a layer has to be causal."""
    trees.check_model(where, model)
    if isinstance(model, Layer):
        trees.check_causal(where, model)
    params, xs = checked_call(where, model, params, xs, carry, lengths, mask, resets, None, context)
    return begun(model, params, xs, carry, valid_steps(lengths, mask, xs.shape[0]), resets, context)


def begun(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None,
    valid: Array | None,
    resets: Array | None,
    context: Any,
) -> Walk:
    """Returns the run, without checks."""
    xs = silence(valid, with_elapsed(xs, valid, resets) if model.timed else xs)
    carry = model.init_carry(params, batch_of(model, xs)[1:]) if carry is None else carry
    x = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    after = jax.eval_shape(lambda *step: run_step(model, *step, None, context)[0], params, carry, x)
    carry = jax.tree.map(lambda leaf, out: jnp.asarray(leaf, out.dtype), carry, after)
    return Walk(params, carry, xs, valid, resets, context)


def start(model: Cell | Layer, run: Walk, carry: Carry, x: Array, reset: Array | None) -> Carry:
    """Returns the carry that a step starts from: after a reset, the model's own initial carry."""
    if reset is None:
        return carry
    fresh = model.init_carry(run.params, batch_of(model, x))
    return jax.tree.map(lambda new, old: select(reset, new.astype(old.dtype), old), fresh, carry)


def after(model: Cell | Layer, run: Walk, carry: Carry, x: Array, valid: Array | None = None) -> tuple[Carry, Any]:
    """Returns the carry and output of a step that starts from `carry`."""
    return hold(valid, carry, *run_step(model, run.params, carry, x, None, run.context))


def batch_axes(model: Cell | Layer, xs: Array) -> int:
    """Returns the number of batch axes of `xs [T, *batch, ...]`."""
    return xs.ndim - 1 - model.num_feature_axes


def parted(tree: Any) -> tuple[list[Array], Callable[[list[Array]], Any]]:
    """Returns the leaves that have derivatives, and a function that rebuilds the tree with others in their place."""
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]

    def rebuilt(others: list[Array]) -> Any:
        new = dict(enumerate(leaves)) | dict(zip(places, others, strict=True))
        return jax.tree.unflatten(structure, new.values())

    return [leaves[i] for i in places], rebuilt


def by_layer(of: Callable[[Carry], Any], carry: Carry) -> Any:
    """Returns `of` of each recurrent layer's carry.

    Tuples, which the carries of a `stack` are, stay tuples; a layer without floating state becomes `()`.
    """
    if type(carry) is tuple:
        return tuple(by_layer(of, part) for part in carry)
    return of(carry) if parted(carry)[0] else ()
