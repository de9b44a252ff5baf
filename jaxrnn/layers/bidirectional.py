"""`bidirectional` runs two recurrences over one sequence, one from each end."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import checks, trees
from jaxrnn.carries import serializable
from jaxrnn.driver import run_layer
from jaxrnn.layers.backwards import backwards
from jaxrnn.layers.layer import layer
from jaxrnn.layers.rnn import as_layer
from jaxrnn.layers.width import aligned_width
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import activated
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps

Merge = Literal["concat", "sum", "mul", "ave"] | Callable[[Array, Array], Any]

_MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], -1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


@serializable
class BidirectionalCarry(NamedTuple):
    """The carries of both directions: `forward`'s after the last valid step, `backward`'s after the first.

    Attributes:
      forward: the carry of the layer that runs from the first step on.
      backward: the carry of the layer that runs from the last valid step back.
    """

    forward: Any
    backward: Any


@checked
def bidirectional(forward: Cell | Layer, backward: Cell | Layer | None = None, *, merge: Merge = "concat") -> Layer:
    """Makes a layer of two recurrences over one sequence, one from each end, whose outputs are merged at each step.

    (Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".) Parameters are
    `{"forward": …, "backward": …}`, the carry is a `BidirectionalCarry`. Lengths, masks and resets apply to each
    direction as in `unroll`: the backward direction of a sequence begins at its last valid step.

    Args:
      forward: a `Cell`, or a `Layer` such as a `stack`.
      backward: the same for the direction from the end to the start; None: `forward` again, with its own parameters.
      merge: how outputs are merged: `"concat"` along the features; `"sum"`, `"mul"` or `"ave"`, the mean, of equal
        widths; or a function of both outputs, `[T, *batch, H]` each, that acts on each step alone and may return a
        pytree: `lambda forward, backward: (forward, backward)` keeps them apart.

    Returns:
      A `Layer` without a `step`, since it is not causal. Its outputs are 0 at invalid steps, whatever `merge` is.

    Raises:
      ValueError: `forward` or `backward` is neither a cell nor a layer; `merge` is not one of the above. `init` raises
        it if outputs are not as many as inputs.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.bidirectional(jaxrnn.lstm(8))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 3)), lengths=jax.numpy.array([5, 2]))
      >>> ys.shape, carry.backward.h.shape
      ((5, 2, 16), (2, 8))
    """
    ahead = as_layer("bidirectional", forward, name="forward")
    backward = forward if backward is None else backward
    trees.check_model("bidirectional", backward, name="backward")
    back = backwards(backward)
    parts = {"forward": ahead, "backward": back}

    def init(key: Array, in_features: int) -> Params:
        keys = jax.random.split(key)
        made = {name: part.init(k, in_features) for (name, part), k in zip(parts.items(), keys, strict=True)}
        widths = (aligned_width("bidirectional", name, parts[name], made[name], in_features) for name in parts)
        _check_widths(merge, *widths)
        return {name: params for name, params in made.items() if params}  # as `stack` does

    def init_carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        return BidirectionalCarry(*(part.init_carry(params.get(name, {}), batch_shape) for name, part in parts.items()))

    def run(params: Params, carry: BidirectionalCarry, xs: Array, steps: Steps) -> tuple[Carry, Any, Steps]:
        keys = (None, None) if steps.key is None else jax.random.split(steps.key)
        carries, outputs, after = [], [], steps
        starts = (None, None) if carry is None else carry
        for (name, part), before, key in zip(parts.items(), starts, keys, strict=True):
            told = steps._replace(key=key, aux=after.aux)
            carry, ys, after = run_layer(part, params.get(name, {}), before, xs, told)
            carries.append(carry)
            outputs.append(ys)
        return BidirectionalCarry(*carries), _merged(merge, outputs[0], outputs[1], after.valid), after

    return layer(
        "bidirectional",
        init,
        run,
        None,
        init_carry,
        num_feature_axes=max(ahead.num_feature_axes, back.num_feature_axes),
        any_axes=ahead.any_axes and back.any_axes,
        draws=ahead.draws or back.draws,
        context=back.context if ahead.context is None else ahead.context,
        timed=ahead.timed or back.timed,
        takes_none=True,
        splits=True,
    )


def _check_widths(merge: Merge, forward: int, backward: int) -> None:
    if merge in ("sum", "mul", "ave") and forward != backward:
        raise checks.ShapeError(
            f"bidirectional: forward gives {forward} features and backward {backward}, expected equally many for "
            f"merge={merge!r}; merge='concat' takes any"
        )


def _merged(merge: Merge, forward: Array, backward: Array, valid: Array | None) -> Any:
    if not callable(merge):
        return _MERGES[merge](forward, backward)
    ys = activated(merge, valid, forward, backward)
    outputs = jax.tree.leaves(ys, is_leaf=lambda leaf: leaf is None)  # `merge` may return several arrays
    if not outputs:
        raise checks.ShapeError(f"bidirectional: merge gives {ys!r}, expected one array or several")
    for output in outputs:
        checks.check_array_like("bidirectional: the result of merge", output)
        if jnp.shape(output)[:-1] != forward.shape[:-1]:
            raise checks.ShapeError(
                f"bidirectional: merge gives shape {jnp.shape(output)}, expected {(*forward.shape[:-1], 'H')}: it acts "
                "on each step alone"
            )
    return ys
