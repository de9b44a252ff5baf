"""`residual` adds the input of a layer to its output."""

from typing import Any

from jaxrnn import checks
from jaxrnn.driver import run_layer, step_layer
from jaxrnn.layers.layer import around
from jaxrnn.layers.rnn import as_layer
from jaxrnn.layers.width import aligned_width
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps


@checked
def residual(model: Cell | Layer) -> Layer:
    """Makes a layer `yₜ = xₜ + model(x)ₜ` with the parameters and carry of `model`.

    (He et al. 2016, "Deep residual learning for image recognition".)

    Args:
      model: a `Layer` or a `Cell` as wide as its input, with a step for each one of its input.

    Returns:
      A `Layer`, with a `step` if `model` has one.

    Raises:
      ValueError: `model` is neither a cell nor a layer. `init` raises it if outputs are not as many and as wide as
        inputs.

    Example:
      >>> import jax, jaxrnn
      >>> block = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.gru(8), jaxrnn.dense(3)))
      >>> params = block.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(block, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 3)
    """
    inner = as_layer("residual", model)

    def init(key: Array, in_features: int) -> Params:
        params = inner.init(key, in_features)
        _check_width(in_features, aligned_width("residual", "model", inner, params, in_features))
        return params

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array, Steps]:
        carry, ys, steps = run_layer(inner, params, carry, xs, steps)
        return carry, xs + ys, steps

    def step(params: Params, carry: Carry, x: Array, context: Any = None) -> tuple[Carry, Array]:
        carry, y = step_layer(inner, params, carry, x, context)
        return carry, x + y

    return around(inner, "residual", run, step, init)._replace(inside=inner.inside)


def _check_width(given: int, found: int) -> None:
    if given != found:
        raise checks.ShapeError(
            f"residual: model gives {found} features for {given}, expected equally many; "
            f"residual(stack(model, dense({given}))) has them"
        )
