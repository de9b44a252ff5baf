"""`weight_dropout` applies dropout to the recurrent kernel."""

import jax
import jax.numpy as jnp

from jaxrnn import checks, trees
from jaxrnn.options import checked
from jaxrnn.recurrence.followed import Drawn, drawn_from
from jaxrnn.types import Array, Cell, Params


@checked
def weight_dropout(cell: Cell, rate: float) -> Cell:
    """Drops entries of the recurrent kernel, the same ones for all sequences and steps of a run: DropConnect.

    Each is 0 with probability `rate`, the rest are scaled by `1 / (1 − rate)` (Wan et al. 2013, "Regularization of
    neural networks using DropConnect"; in recurrent networks Merity, Keskar & Socher 2018, "Regularizing and optimizing
    LSTM language models"). The `key` of `unroll` draws them before the loop; without a key nothing is dropped.

    Args:
      cell: a cell with a parameter `recurrent_kernel`.
      rate: 0 ≤ rate < 1.

    Returns:
      A `Cell` with the parameters and the carry of `cell`.

    Raises:
      ValueError: `rate` is outside [0, 1); `cell` has no recurrent kernel.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.weight_dropout(jaxrnn.lstm(8), 0.5)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)), key=jax.random.key(1))
      >>> ys.shape
      (5, 2, 8)
    """
    trees.check_parameter("weight_dropout", cell, "recurrent_kernel")
    checks.check_rate("weight_dropout", "rate", rate)

    def draw(key: Array, params: Params, shape: tuple[int, ...], first: Array | int = 0) -> Drawn:
        k_inner, k_own = jax.random.split(key)
        kernel = params["recurrent_kernel"]
        kept = jax.random.bernoulli(k_own, 1 - rate, kernel.shape)
        dropped = jnp.where(kept, kernel / (1 - rate), jnp.zeros_like(kernel))
        return drawn_from(cell, k_inner, params | {"recurrent_kernel": dropped}, shape, first)

    return cell._replace(draw=draw)
