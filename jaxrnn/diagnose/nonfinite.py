"""`first_nonfinite` says where NaN or infinity first arose: at which step, in which layer, in which array."""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.diagnose.faults import Fault, earliest, sequences, up_to, what_of, when
from jaxrnn.diagnose.layer_runs import LayerRun, layer_runs, named, peaks, stepped_peaks, unexpected
from jaxrnn.driver import batch_of
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import silence, valid_steps
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps
from jaxrnn.unroll import checked_call, unroll

Place = Literal["parameter", "carry", "input", "layer", "output", "loss", "gradient"]


class NonFinite(NamedTuple):
    """This record says where the first value that is not finite arose; `str` gives it as a sentence.

    Attributes:
      place: the kind of the place: a `"parameter"`, the initial `"carry"`, an `"input"`, a `"layer"`, an `"output"` of
        the whole model, the `"loss"`, or the `"gradient"` of a parameter.
      name: the path of the parameter or of the leaf of the carry, as `layer_0/kernel`, or that of the layer, as
        `layer_0`; `""` where there is only one.
      value: `"NaN"` or `"inf"`, of either sign; `"NaN"` if there are both.
      step: the index of the step, counted from 0, for inputs, layers and outputs; None elsewhere.
      sequences: the indices of its sequences in the batch, `(3, 5)`, or with several batch axes `((0, 3), (1, 2))`.
        Empty without batch axes, and where there is no `step`.
      sentence: all of this in words.
    """

    place: Place
    name: str
    value: str
    step: int | None
    sequences: tuple[Any, ...]
    sentence: str

    def __str__(self) -> str:
        """Returns the sentence."""
        return self.sentence


def all_finite(tree: Any) -> Array:
    """Returns whether every number in a pytree of arrays is finite, for use inside a compiled training step.

    Args:
      tree: a pytree of arrays, such as parameters; integers and bools are finite.

    Returns:
      A bool scalar on the device.

    Example:
      >>> import jax.numpy as jnp, jaxrnn.diagnose
      >>> bool(jaxrnn.diagnose.all_finite({"kernel": jnp.ones(3), "bias": jnp.array([0.0, jnp.nan])}))
      False
    """
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            finite &= jnp.isfinite(leaf).all()
    return finite


@checked
def first_nonfinite(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    key: Array | None = None,
    context: Any = None,
    loss: Callable[[Any], Array] | None = None,
) -> NonFinite | None:
    """Finds where the first value that is not finite arises in a run of a model.

    It is for use after a failure, outside `jit`, and looks at the parameters, then at the initial carry and the inputs.
    Then it runs one layer after another, and takes the earliest step, and in it the lowest layer, with a carry or an
    output that is not finite. At last come the outputs of the model as a whole, the loss and its gradient in the
    parameters. What `init_carry` itself makes infinite, as the stabilizer of `mlstm`, is no fault, and neither are the
    values of inputs at invalid steps.

    In the layers of a `stack`, also inside a `residual`, it finds the carry's first fault by stepping; a layer that is
    not causal shows its outputs alone. A cell with random masks steps without them.

    Args:
      model: a `Cell`, or a `Layer` such as a `stack`.
      params: from before the training step that failed.
      xs: its inputs `[T, *batch, D]`, as for `unroll`.
      carry: its initial carry, as for `unroll`.
      lengths: as for `unroll`.
      mask: as for `unroll`.
      resets: as for `unroll`.
      key: as for `unroll`.
      context: as for `unroll`; its own values are not looked at.
      loss: `ys -> scalar` of all outputs; None: neither a loss nor a gradient is looked at.

    Returns:
      A `NonFinite`, or None if all is finite.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: an argument is traced; `loss` does not return one floating number.

    Example:
      A parameter is so large that the first step overflows:

      >>> import jax, jax.numpy as jnp, jaxrnn, jaxrnn.diagnose
      >>> model = jaxrnn.stack(jaxrnn.gru(4), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> params["layer_1"]["bias"] = jnp.array([0.0, 3e38])
      >>> loss = lambda ys: (2 * ys).sum()
      >>> print(jaxrnn.diagnose.first_nonfinite(model, params, jnp.ones((5, 3)), loss=loss))
      the loss is inf; the outputs are finite, up to 3e+38
    """
    given = (params, xs, carry, lengths, mask, resets, key, context)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given)):
        raise ValueError(
            "first_nonfinite: an argument is traced, expected values; call it outside jax.jit, once all_finite is False"
        )
    params, xs = checked_call("first_nonfinite", model, params, xs, carry, lengths, mask, resets, key, context)
    steps = {"lengths": lengths, "mask": mask, "resets": resets, "key": key, "context": context}
    valid = valid_steps(lengths, mask, xs.shape[0])
    axes = xs.ndim - 1 - model.num_feature_axes if valid is None else valid.ndim - 1
    return (
        _in_tree("parameter", "the parameter", params)
        or _in_carry(model, params, xs, carry)
        or _in_inputs(xs, valid, axes)
        or _in_layers(model, params, carry, xs, Steps(valid, resets, key, context), axes)
        or _in_whole(partial(unroll, model, **steps), params, xs, carry, axes, loss)
    )


def _in_tree(place: Place, what: str, tree: Any, after: str = "") -> NonFinite | None:
    """Returns the first leaf of a pytree that is not finite."""
    leaves = [(named(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    wrong = [(name, leaf) for name, leaf in leaves if not all_finite(leaf)]
    if not wrong:
        return None
    name, leaf = wrong[0]
    counts = {"NaN": np.isnan(leaf).sum(), "inf": np.isinf(leaf).sum()}
    said = " and ".join(f"{count:,} {value}" for value, count in counts.items() if count)
    others = f", and {len(wrong) - 1} more of {len(leaves)} arrays are not finite" if len(wrong) > 1 else ""
    sentence = f"{what} {name}".rstrip() + f" has {said} among {leaf.size:,} numbers{others}{after}"
    return NonFinite(place, name, "NaN" if counts["NaN"] else "inf", None, (), sentence)


def _in_carry(model: Cell | Layer, params: Params, xs: Array, carry: Carry | None) -> NonFinite | None:
    """Returns the first leaf of the initial carry that is not finite, unless `init_carry` makes it so."""
    if carry is None:
        return None
    fresh = model.init_carry(params, batch_of(model, xs)[1:])
    return _in_tree("carry", "the initial carry", jax.tree.map(unexpected, carry, fresh))


def _in_inputs(xs: Array, valid: Array | None, axes: int) -> NonFinite | None:
    found = earliest(peaks(xs, 1 + axes), valid)
    return None if found is None else _of(found, "input", "", f"{when(found)}: the inputs are {what_of(found)}")


def _in_layers(
    model: Cell | Layer, params: Params, carry: Carry | None, xs: Array, steps: Steps, axes: int
) -> NonFinite | None:
    """Returns the fault at the earliest step, in the lowest layer there."""
    first: tuple[Fault, LayerRun, str] | None = None
    for run in layer_runs("", model, params, carry, xs, steps):
        causal = run.layer is None or run.layer.step is not None
        if not causal and earliest(peaks(run.xs, 1 + axes), run.steps.valid):
            break  # a fault from below may reach any of its steps
        before, after = stepped_peaks(run, axes)
        arrays = {f"the carry's {name}" if name else "the carry": peak for name, peak in after.items()}
        arrays |= {f"the output{name and f' {name}'}": peak for name, peak in peaks(run.ys, 1 + axes).items()}
        found = earliest(arrays, run.valid)
        if found is not None and (first is None or found.step < first[0].step):
            state = {name: peak[found.step - 1] for name, peak in after.items()} if found.step else before
            seen = silence(run.steps.valid, run.xs)
            sizes = {
                "inputs": peaks(jax.tree.map(itemgetter(found.step), seen) if causal else seen, 0),
                "carry": state,
                "parameters": peaks(run.params, 0),
            }
            first = found, run, ", ".join(up_to(name, peak) for name, peak in sizes.items() if peak)
    if first is None:
        return None
    found, run, sizes_before = first
    place = f"{run.name}, {run.kind}" if run.name else run.kind
    finite = f"; finite before: {sizes_before}" if sizes_before else ""
    return _of(found, "layer", run.name, f"{when(found)}, in {place}: {found.array} is {what_of(found)}{finite}")


def _in_whole(
    run: Callable[..., tuple[Carry, Any]],
    params: Params,
    xs: Array,
    carry: Carry | None,
    axes: int,
    loss: Callable[[Any], Array] | None,
) -> NonFinite | None:
    """Returns a fault of the model's outputs, of the loss, or of its gradient."""
    ys = run(params, xs, carry)[1]
    if found := earliest(peaks(ys, 1 + axes), None):
        sentence = f"{when(found)}: the outputs are {what_of(found)}, although those of each layer alone are finite"
        return _of(found, "output", "", sentence)
    if loss is None:
        return None
    checks.check_loss("first_nonfinite", jax.eval_shape(loss, ys))
    value, gradient = jax.value_and_grad(lambda params: loss(run(params, xs, carry)[1]))(params)
    if not all_finite(value):
        kind = "NaN" if jnp.isnan(value) else "inf"
        said = up_to("the outputs are finite,", peaks(ys, 0))
        return NonFinite("loss", "", kind, None, (), f"the loss is {kind}; {said}")
    return _in_tree("gradient", "the gradient of", gradient, ", while the loss and the outputs are finite")


def _of(fault: Fault, place: Place, name: str, sentence: str) -> NonFinite:
    return NonFinite(place, name, fault.value, fault.step, sequences(fault.bad), sentence)
