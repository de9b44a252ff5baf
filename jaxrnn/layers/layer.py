"""`layer` and `stepwise` make a layer from the functions that its author writes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.driver import batch_of
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import silence
from jaxrnn.splits import check_layer
from jaxrnn.step_keys import step_keys
from jaxrnn.types import Array, Carry, Layer, Params, Steps

Init = Callable[[Array, Any], Params]


@checked
def layer(
    name: str,
    init: Init,
    run: Callable[[Params, Carry, Array, Steps], Any],
    step: Callable[..., tuple[Carry, Any]] | None = None,
    init_carry: Callable[[Params, tuple[int, ...]], Carry] | None = None,
    *,
    num_feature_axes: int = 1,
    any_axes: bool = False,
    draws: bool = False,
    context: Any = None,
    looks_ahead: Sequence[str] = (),
    timed: bool = False,
    takes_none: bool = False,
    splits: bool = False,
) -> Layer:
    """Makes a layer, a transformation of sequences, from functions that check nothing.

    `jaxrnn.unroll` and `jaxrnn.step` check arguments first. The layer replaces values at invalid steps, NaN included,
    by 0 before and after `run`, so that padding has no influence.

    Args:
      name: its name in errors.
      init: `(key, in_features) -> params`, a dict of arrays, `{}` if there are none.
      run: `(params, carry, xs [T, *batch, D], steps) -> (carry, ys [T, *batch, H])`; `steps`, a `Steps`, has the masks,
        resets, key and costs. It sees 0 at invalid steps and has to be differentiable there; at such a step it holds
        its carry, and where `steps.resets` is True it starts from its initial carry. A layer that changes the time
        axis, or adds a cost, returns its `Steps` as a third value.
      step: `(params, carry, x [*batch, D]) -> (carry, y [*batch, H])`, the same for one valid step; None: the layer is
        not causal. A layer that reads a context takes it as a fourth argument.
      init_carry: `(params, batch_shape) -> carry`, with leaves `[*batch, ...]`; None: the layer has no state, and its
        carry is `()`.
      num_feature_axes: the last axes of an input that belong to one step; 0: inputs are token ids, and `init` takes
        None for `in_features`.
      any_axes: whether an input may have more of them: the layer treats them like those of the batch.
      draws: whether `run` reads `steps.key`, which is None otherwise; what differs from step to step is drawn as
        `Steps` says.
      context: if `run` reads `steps.context`, which is None otherwise, the shapes of one without batch axes, with which
        the widths of layers are inferred: `jax.ShapeDtypeStruct((1, 64), jnp.float32)` for vectors of 64 features.
      looks_ahead: where there is no `step`, names the part that needs later inputs; the layer itself if empty.
      timed: whether the last feature of an input is a time, as for `Cell`; `run` sees it at invalid steps, too.
      takes_none: whether `run` takes None for a carry that is the initial one, which may save work at the beginning of
        a sequence; a layer made of layers hands it on.
      splits: whether `run` also works on one device's part of the steps, where `steps.split` says so: it acts on each
        step alone, or hands `steps` on to layers of its own. Other layers are refused there.

    Returns:
      A `Layer`.

    Raises:
      ValueError: an argument is of another kind.

    Example:
      The difference to the previous input, which is 0 before the first:

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def run(params, carry, xs, steps):
      ...     return xs[-1], xs - jnp.concatenate([carry[None], xs[:-1]])
      >>> def step(params, carry, x):
      ...     return x, x - carry
      >>> def zeros(params, batch_shape):
      ...     return jnp.zeros((*batch_shape, 3))
      >>> difference = jaxrnn.layer("difference", lambda key, in_features: {}, run, step, zeros)
      >>> carry, ys = jaxrnn.unroll(difference, {}, jnp.array([[1.0, 2.0, 3.0], [1.0, 4.0, 9.0]]))
      >>> ys.tolist()
      [[1.0, 2.0, 3.0], [0.0, 2.0, 6.0]]
    """

    if any(not isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(context)):
        raise ValueError(
            f"layer: context is {checks.spelled(context)}, expected shapes such as jax.ShapeDtypeStruct((1, 64), 'f4')"
        )

    def whole(params: Params, carry: Carry | None, xs: Array, steps: Steps) -> tuple[Carry, Any, Steps]:
        check_layer(name, steps.split, splits)
        if carry is None and not takes_none:
            carry = start(params, batch_of(made, xs)[1:])
        seen = steps._replace(key=steps.key if draws else None, context=None if context is None else steps.context)
        carry, ys, *changed = run(params, carry, _silent(steps.valid, xs, timed), seen)
        after = changed[0]._replace(key=steps.key, context=steps.context) if changed else steps
        return carry, silence(after.valid, ys), after

    def start(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        return () if init_carry is None else init_carry(params, batch_shape)

    ahead = () if step is not None else tuple(looks_ahead) or (name,)
    made = Layer(init, start, whole, step, num_feature_axes, any_axes, draws, context, ahead, timed)
    return made


def _silent(valid: Array | None, xs: Array, timed: bool) -> Array:
    """Returns `xs` with 0 at invalid steps, except for times: the time of an invalid step counts."""
    if not timed:
        return silence(valid, xs)
    return jnp.concatenate([silence(valid, xs[..., :-1]), xs[..., -1:]], -1)


@checked
def stepwise(
    name: str, init: Init, apply: Callable[..., Any], *, draws: bool = False, num_feature_axes: int = 1
) -> Layer:
    """Makes a layer that acts on each step alone.

    Args:
      name: its name in errors.
      init: `(key, in_features) -> params`, a dict of arrays, `{}` if there are none.
      apply: `(params, xs [..., D]) -> ys [..., H]`, over any leading axes; with `draws`, `(params, x [*batch, D], key)`
        for one step, whose key is None for a deterministic run and in `step`. It sees 0 at invalid steps and has to be
        differentiable there.
      draws: whether `apply` takes a key.
      num_feature_axes: 0 for a layer that takes token ids; 1 for features, which spatial axes may precede.

    Returns:
      A `Layer` with a `step` and without a carry: `()`.

    Raises:
      ValueError: an argument is of another kind.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def init(key, in_features):
      ...     return {"temperature": jnp.ones(())}
      >>> tempered = jaxrnn.stepwise("tempered", init, lambda params, xs: xs / params["temperature"])
      >>> model = jaxrnn.stack(jaxrnn.gru(8), tempered)
      >>> carry, ys = jaxrnn.unroll(model, model.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 8)
    """

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Any]:
        if not draws:
            return carry, apply(params, xs)
        if steps.key is None:
            return carry, apply(params, xs, None)
        return carry, jax.vmap(partial(apply, params))(xs, step_keys(steps.key, steps.first, xs.shape[0]))

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Any]:
        return carry, apply(params, x, None) if draws else apply(params, x)

    any_axes = num_feature_axes > 0
    return layer(name, init, run, step, num_feature_axes=num_feature_axes, any_axes=any_axes, draws=draws, splits=True)


def around(
    inner: Layer, name: str, run: Callable[..., Any], step: Callable[..., Any] | None, init: Init | None = None
) -> Layer:
    """Makes a layer with the carry of `inner`, and its parameters, too, where `init` is None.

    `run` gets None for the initial carry. The layer calls `step` with the context, if `inner` reads one, and only if
    `inner` has a step.
    """
    return layer(
        name,
        inner.init if init is None else init,
        run,
        None if inner.step is None else step,
        inner.init_carry,
        num_feature_axes=inner.num_feature_axes,
        any_axes=inner.any_axes,
        draws=inner.draws,
        context=inner.context,
        looks_ahead=inner.looks_ahead,
        timed=inner.timed,
        takes_none=True,
        splits=True,
    )
