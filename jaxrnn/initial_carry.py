"""`initial_carry`: the carry with which a model begins, before it has parameters."""

from functools import partial

import jax

from jaxrnn import checks, trees
from jaxrnn.types import Array, Carry, Cell, Layer


def initial_carry(model: Cell | Layer, in_features: int | Array | None, batch_shape: tuple[int, ...] = ()) -> Carry:
    """Returns the carry with which a cell or a layer begins, without parameters.

    Args:
      model: a `Cell` or a `Layer`.
      in_features: D, or an example input, as for `model.init`; None for token ids.
      batch_shape: sizes of the batch axes, and of those of an image after them.

    Returns:
      The result of `model.init_carry(params, batch_shape)` for parameters that `model.init` draws: for a learned carry,
      the one before training.

    Raises:
      ShapeError: `in_features` or `batch_shape` is none of the above.
      ValueError: `model` is neither a cell nor a layer.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.initial_carry(jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dense(2)), 3, (2,))[0].h.shape
      (2, 8)
    """
    trees.check_model("initial_carry", model)
    width = checks.no_width if model.num_feature_axes == 0 else checks.width_of_inputs
    checks.check_batch_shape("initial_carry", batch_shape)
    return _initial_carry(model, width("initial_carry", in_features), tuple(batch_shape))


@partial(jax.jit, static_argnames=("model", "in_features", "batch_shape"))
def _initial_carry(model: Cell | Layer, in_features: int | None, batch_shape: tuple[int, ...]) -> Carry:
    """Returns the carry from a compiled program, which draws no parameters that the carry does not depend on."""
    return model.init_carry(model.init(jax.random.key(0), in_features), batch_shape)
