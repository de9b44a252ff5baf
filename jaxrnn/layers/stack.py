"""`stack` runs layers one after another."""

from collections.abc import Callable
from typing import Any

import jax

from jaxrnn import checks
from jaxrnn.driver import run_layer, step_layer
from jaxrnn.layers.layer import layer
from jaxrnn.layers.rnn import as_layer, layer_of_function
from jaxrnn.layers.width import width
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps


@checked
def stack(*models: Cell | Layer | Callable[[Array], Array]) -> Layer:
    """Makes a layer of cells, layers and plain functions, each of which takes the output of the previous one.

    Parameters are `{"layer_0": …, "layer_1": …}`, without an entry for a layer that has none; the carry is
    the tuple of the layers' carries. Lengths, masks and resets reach every layer; a `key` is split among them.

    Args:
      *models: cells such as `gru(32)`, layers such as `dropout(0.5)`, and functions of the features such as `jnp.tanh`,
        which act on each step alone.

    Returns:
      A `Layer`, with a `step` if every layer has one.

    Raises:
      ValueError: there are none, or one is none of the above; an `embedding` is not the first.

    Example:
      >>> import jax, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.gru(8), jax.numpy.tanh, jaxrnn.lstm(4), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(model, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, len(carry)
      ((5, 2, 2), 4)
    """
    if not models:
        raise ValueError("stack: no layers, expected one or more")
    layers = [_layer_of(f"layer_{i}", model) for i, model in enumerate(models)]
    names = [f"layer_{i}" for i in range(len(layers))]

    def init(key: Array, in_features: int | None) -> Params:
        params = {}
        for name, part, k in zip(names, layers, jax.random.split(key, len(layers)), strict=True):
            made = part.init(k, in_features)
            if name != names[-1]:
                in_features = width("stack", name, part, made, in_features)
            if made:  # checkpoints that store only leaves would lose an empty dict
                params[name] = made
        return params

    def init_carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        carries = []
        for name, part in zip(names, layers, strict=True):
            carries.append(part.init_carry(params.get(name, {}), batch_shape))
            batch_shape = _outputs(part, carries[-1], batch_shape)
        return tuple(carries)

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array, Steps]:
        keys = [None] * len(layers) if steps.key is None else jax.random.split(steps.key, len(layers))
        starts, after = [None] * len(layers) if carry is None else carry, []
        for name, part, before, key in zip(names, layers, starts, keys, strict=True):
            c, xs, steps = run_layer(part, params.get(name, {}), before, xs, steps._replace(key=key))
            after.append(c)
        return tuple(after), xs, steps

    def step(params: Params, carry: Carry, x: Array, context: Any = None) -> tuple[Carry, Array]:
        after = []
        for name, part, before in zip(names, layers, carry, strict=True):
            c, x = step_layer(part, params.get(name, {}), before, x, context)
            after.append(c)
        return tuple(after), x

    def inside(params: Params, carry: Carry, x: Array, context: Any) -> tuple[Any, ...]:
        found: list[Any] = []
        for name, part, before in zip(names, layers, carry, strict=True):
            own = params.get(name, {})
            found.append(() if part.inside is None else part.inside(own, before, x, context))
            _, x = step_layer(part, own, before, x, context)
        return tuple(found)

    ahead = [(name, *part.looks_ahead) for name, part in zip(names, layers, strict=True) if part.step is None]
    made = layer(
        "stack",
        init,
        run,
        None if ahead else step,
        init_carry,
        num_feature_axes=layers[0].num_feature_axes and max(part.num_feature_axes for part in layers),
        any_axes=all(part.any_axes for part in layers),
        draws=any(part.draws for part in layers),
        context=next((part.context for part in layers if part.context is not None), None),
        looks_ahead=ahead[0] if ahead else (),
        timed=layers[0].timed,
        takes_none=True,
        splits=True,
    )
    return made._replace(inside=inside)


def _layer_of(name: str, model: Any) -> Layer:
    """Returns the layer of a layer, a cell, or a function with a name, which an instance of a Flax module lacks."""
    if not isinstance(model, Cell | Layer | type) and callable(model) and hasattr(model, "__name__"):
        return layer_of_function(model)
    if not isinstance(model, Cell | Layer):
        raise ValueError(
            f"stack: {name} is {checks.spelled(model)}, expected a Cell, a Layer, or a plain function such as jnp.tanh"
        )
    return as_layer("stack", model)


def _outputs(layer: Layer, carry: Carry, batch_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the axes before the features of a layer's outputs: those of images are read off the states."""
    if layer.num_feature_axes < 2:
        return batch_shape
    found = [leaf.shape[:-1] for leaf in jax.tree.leaves(carry) if leaf.ndim == 1 + len(batch_shape)]
    return found[-1] if found else batch_shape
