"""Runs the layers of a model one at a time, so that what each of them takes and gives can be looked at."""

from collections.abc import Generator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.diagnose.walk import after, begun, start
from jaxrnn.driver import run_layer
from jaxrnn.layers.layer import layer, stepwise
from jaxrnn.layers.residual import residual
from jaxrnn.layers.rnn import as_layer, layer_of_function
from jaxrnn.layers.stack import stack
from jaxrnn.precision import accumulator
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps


class LayerRun(NamedTuple):
    """One layer's run over a sequence.

    Attributes:
      name: the path of its parameters, `layer_0` or `layer_2/layer_1`; `""` for a model that is no `stack`.
      kind: the call that made it.
      layer: the layer; None: the sum of a `residual`, which has neither parameters nor a carry.
      params: its parameters.
      carry: its initial carry; None: that of `init_carry`.
      xs: its inputs.
      steps: the masks and resets of its inputs.
      ys: its outputs.
      valid: bool `[T, *batch]`, which of them are valid; None: all.
    """

    name: str
    kind: str
    layer: Layer | None
    params: Params
    carry: Carry | None
    xs: Array
    steps: Steps
    ys: Any
    valid: Array | None


def layer_runs(
    name: str, model: Any, params: Params, carry: Carry | None, xs: Array, steps: Steps
) -> Generator[LayerRun, None, tuple[Any, Steps]]:
    """Yields the run of each layer, the lowest first, and returns the outputs of the model and the `Steps` after it.

    It looks into a `stack` and a `residual`; any other layer is one run. The sum of a `residual` is a run, too.
    """
    call = model.call if isinstance(model, Layer) else None
    if call is not None and call.make is stack:
        key, context = steps.key, steps.context
        keys = [None] * len(call.args) if key is None else jax.random.split(key, len(call.args))
        for i, part in enumerate(call.args):
            at = f"layer_{i}"
            inner = layer_runs(
                f"{name}/{at}".strip("/"),
                part,
                params.get(at, {}),
                None if carry is None else carry[i],
                xs,
                steps._replace(key=keys[i]),
            )
            xs, steps = yield from inner
        return xs, steps._replace(key=key, context=context)
    if call is not None and call.make is residual:
        added, steps = yield from layer_runs(name, call.args[0], params, carry, xs, steps)
        ys = xs + added
        yield LayerRun(name, "the sum of residual", None, {}, None, xs, steps, ys, steps.valid)
        return ys, steps
    part = as_layer("layer_runs", model) if isinstance(model, Cell | Layer) else layer_of_function(model)
    _, ys, after = _run(part, params, carry, xs, steps)
    yield LayerRun(name, _kind(model), part, params, carry, xs, steps, ys, after.valid)
    return ys, after


_run = jax.jit(run_layer, static_argnames="layer")


def _kind(model: Any) -> str:
    """Returns the call that made a model, or only the name of what was called if that is long.

    What `layer` or `stepwise` made has the name that its author gave it.
    """
    if not isinstance(model, Cell | Layer):
        return model.__name__
    if model.call is None:
        return "a layer of your own"
    if model.call.make in (layer, stepwise):
        return model.call.args[0]
    said = repr(model)
    return said if len(said) <= 40 else model.call.make.__name__


def stepped_peaks(run: LayerRun, axes: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Steps a causal layer through its inputs and returns the largest absolute value in each leaf of its carry.

    Entries that are still as `init_carry` made them count as 0 if they are not finite there, as a stabilizer of -inf.

    Args:
      run: the layer's.
      axes: the number of batch axes.

    Returns:
      By the name of the leaf, those before the first step, `[*batch]`, and those after each step, `[T, *batch]`. The
      dicts are empty for a layer that has no floating carry or is not causal.
    """
    part = run.layer
    if part is None or part.step is None or not jax.tree.leaves(part.init_carry(run.params, ())):
        return {}, {}
    return _stepped_peaks(part, axes, run.params, run.carry, run.xs, run.steps)


@partial(jax.jit, static_argnames=("part", "axes"))
def _stepped_peaks(
    part: Layer, axes: int, params: Params, carry: Carry | None, xs: Array, steps: Steps
) -> tuple[dict[str, Array], dict[str, Array]]:
    fresh = begun(part, params, xs, None, steps.valid, steps.resets, steps.context)
    run = fresh if carry is None else begun(part, params, xs, carry, steps.valid, steps.resets, steps.context)

    def body(carry: Carry, at_t: Any) -> tuple[Carry, dict[str, Array]]:
        x, valid, reset = at_t
        carry, _ = after(part, run, start(part, run, carry, x, reset), x, valid)
        return carry, peaks(carry, axes, fresh.carry)

    return peaks(run.carry, axes, fresh.carry), jax.lax.scan(body, run.carry, (run.xs, run.valid, run.resets))[1]


@partial(jax.jit, static_argnames="axes")
def peaks(tree: Any, axes: int, fresh: Any = None) -> dict[str, Array]:
    """Returns the largest absolute value of each floating or complex leaf over all but its first `axes` axes, by name.

    It is NaN where one is NaN. Entries that equal those of `fresh`, if given, count as 0 where these are not finite.
    """
    found = {}
    expected = jax.tree.leaves(tree if fresh is None else fresh)
    for (path, leaf), own in zip(jax.tree_util.tree_leaves_with_path(tree), expected, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        sizes = jnp.abs(leaf if fresh is None else unexpected(leaf, own))
        sizes = sizes.astype(accumulator(sizes.dtype))
        over = tuple(range(axes, sizes.ndim))
        missing = jnp.isnan(sizes).any(over)  # on the CPU, XLA's maximum passes over NaN in large arrays
        found[named(path)] = jnp.where(missing, jnp.nan, sizes.max(over, initial=0))
    return found


def unexpected(leaf: Array, own: Array) -> Array:
    """Returns a leaf of a carry with 0 where it is infinite just as `own`, the leaf of the initial carry, is."""
    return jnp.where((leaf == own) & ~jnp.isfinite(own), jnp.zeros_like(leaf), leaf)


def named(path: Any) -> str:
    """Returns the path of a leaf as `layer_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
