"""`recurrent_dropout` applies dropout to the state before the recurrent product."""

import jax

from jaxrnn import checks, trees
from jaxrnn.options import checked
from jaxrnn.recurrence.followed import Drawn, carry_shapes, drawn_from
from jaxrnn.types import Array, Cell, Noise, Params


@checked
def recurrent_dropout(cell: Cell, rate: float) -> Cell:
    """Drops features of the state before the recurrent product, with one mask per sequence, shared by all steps.

    `U (m ⊙ hₜ₋₁)` replaces `U hₜ₋₁`, with `m` 0 or `1 / (1 − rate)`; the state outside the product is not masked (Gal &
    Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks"). The `key` of
    `unroll` draws the masks before the loop; without a key nothing is dropped.

    Args:
      cell: a cell with the method `"fused"`, whose product the engine owns.
      rate: 0 ≤ rate < 1.

    Returns:
      A `Cell` with the parameters and the carry of `cell`.

    Raises:
      ValueError: `rate` is outside [0, 1); `cell` has no method `"fused"`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.recurrent_dropout(jaxrnn.lstm(8), 0.25)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)), key=jax.random.key(1))
      >>> ys.shape
      (5, 2, 8)
    """
    trees.check_cell("recurrent_dropout", cell)
    checks.check_rate("recurrent_dropout", "rate", rate)
    if "fused" not in cell.methods:
        raise ValueError(
            f"recurrent_dropout: cell has methods {cell.methods}, expected one with 'fused', as pointwise_cell makes; "
            "zoneout and weight_dropout take others, too"
        )

    def draw(key: Array, params: Params, shape: tuple[int, ...], first: Array | int = 0) -> Drawn:
        k_inner, k_own = jax.random.split(key)
        inner, drawn, noise = drawn_from(cell, k_inner, params, shape, first)
        noise = Noise() if noise is None else noise
        h = carry_shapes(cell, params, shape[1:]).h
        mask = jax.random.bernoulli(k_own, 1 - rate, h.shape).astype(h.dtype) / (1 - rate)
        return inner, drawn, noise._replace(state=mask if noise.state is None else noise.state * mask)

    return cell._replace(draw=draw)
