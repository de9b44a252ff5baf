"""`heads` makes a recurrent kernel block-diagonal."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers, trees
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.types import Array, Cell, Params


@checked
def heads(cell: Cell, count: int, *, recurrent_kernel_init: Initializer = initializers.orthogonal) -> Cell:
    """Makes the recurrent kernel of `cell` block-diagonal: `count` parts of the state do not see each other.

    The recurrent product has `count` times fewer weights and operations (as in the sLSTM of Beck et al. 2024, "xLSTM:
    extended long short-term memory"). Features `0 … H/count − 1` are the first head, and so on.

    Args:
      cell: made by `pointwise_cell` (method `"fused"`), with `recurrent_kernel [H, G, H]`.
      count: N, a divisor of H.
      recurrent_kernel_init: draws the blocks, per head and gate: `(key, (H/N, H/N), dtype) -> Array`.

    Returns:
      A `Cell` with `recurrent_kernel [N, H/N, G, H/N]`, otherwise equal to `cell`.

    Raises:
      ValueError: `cell` has no such recurrent kernel, or needs a dense one, as a `weight_norm` inside does; `count` is
        not a positive int that divides its width.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.heads(jaxrnn.lstm(8), 2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params["recurrent_kernel"].shape
      (2, 4, 4, 4)
    """
    trees.check_parameter("heads", cell, "recurrent_kernel")
    shape = jax.eval_shape(lambda: cell.init(jax.random.key(0), cell.example_features))["recurrent_kernel"].shape
    if "fused" not in cell.methods or len(shape) != 3 or shape[0] != shape[-1]:
        raise ValueError(
            f"heads: cell has methods {cell.methods} and recurrent_kernel of shape {shape}, expected 'fused' among "
            "them and [H, G, H], as of pointwise_cell"
        )
    width, gates, _ = shape
    if width % count:
        raise ValueError(f"heads: count is {count}, expected a divisor of {width}, the width of the state")

    def init(key: Array, in_features: int) -> Params:
        k_cell, k_blocks = jax.random.split(key)
        params, size = cell.init(k_cell, in_features), width // count
        dtype = params["recurrent_kernel"].dtype
        blocks = [
            initializers.per_gate(recurrent_kernel_init, k, size, gates, size, dtype)
            for k in jax.random.split(k_blocks, count)
        ]
        return params | {"recurrent_kernel": jnp.stack(blocks)}

    def one_step() -> Any:
        params = init(jax.random.key(0), cell.example_features)
        return cell.step(params, cell.init_carry(params), cell.project(params, jnp.zeros(cell.example_features)))

    try:
        jax.eval_shape(one_step)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "heads: cell does not run on a recurrent_kernel in blocks, expected one that does; what needs the whole "
            f"kernel goes around the heads: weight_norm(heads(cell, {count}))"
        ) from error
    return cell._replace(init=init)
