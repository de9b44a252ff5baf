"""`act` makes a layer of a cell that decides how often to run before it takes the next input."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks, initializers, trees
from jaxrnn.initializers import Initializer
from jaxrnn.layers.costed import costed, opened
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.followed import surrounding
from jaxrnn.recurrence.loop import select
from jaxrnn.types import Array, Carry, Cell, Layer, Noise, Params


@checked
def act(
    cell: Cell,
    max_ponder: int,
    *,
    epsilon: float = 0.01,
    halt_bias: float = 1.0,
    kernel_init: Initializer = initializers.lecun_normal,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer of a cell with adaptive computation time: each input may take several runs of the cell.

    (Graves 2016, "Adaptive computation time for recurrent neural networks".) Run n of a step reads the input, after one
    feature that is 1 in the first run and 0 later, and decides how much its result counts:

        pₙ = σ(wᵀ hₙ + b)  for n < N,  p_N = 1 − Σₙ₍ₙ<N₎ pₙ

    where h is the output of the cell and N, for each sequence alone, the first n with `p₁ + … + pₙ ≥ 1 − ε`, or
    `max_ponder`. The carry after the step is the mean of the carries weighted by p, and so is the output. The cost
    `"ponder"` of `unroll_with_aux` is the mean of `N + p_N` over the valid steps: a loss adds it times a small factor,
    without which the layer learns to run as often as it may.

    All `max_ponder` runs are computed, for shapes are fixed. A weighted mean suits states that are values; the
    stabilised states of `slstm` and `mlstm` are not.

    Parameters are `{"cell": …, "halt": {"kernel": [H, 1], "bias": [1]}}`, the cell's for one more input.

    Args:
      cell: the recurrence; its input is one vector per step.
      max_ponder: the largest N.
      epsilon: ε, from 0 to 1: without it the first run could never be the last.
      halt_bias: b before training; a larger one begins with fewer runs.
      kernel_init: draws the kernel of the gate, which is computed in float32 at least.
      param_dtype: of the parameters of the gate.

    Returns:
      A `Layer` with a `step`, and the carry and outputs of `cell`.

    Raises:
      ValueError: `cell` is not a cell of vectors, or an option is out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.act(jaxrnn.gru(8), 5), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> carry, ys, aux = jaxrnn.unroll_with_aux(model, params, jnp.ones((6, 2, 3)))
      >>> ys.shape, bool(1 <= aux["ponder"] <= 6)
      ((6, 2, 2), True)
    """
    trees.check_vectors("act", cell)
    checks.check_rate("act", "epsilon", epsilon)
    return costed(
        "act",
        cell,
        lambda cell: _pondering(cell, max_ponder, epsilon),
        "ponder",
        gate="halt",
        extra_features=1,
        offset=halt_bias,
        kernel_init=kernel_init,
        param_dtype=param_dtype,
    )


def _pondering(cell: Cell, max_ponder: int, epsilon: float) -> Cell:
    """Returns the cell whose step is several runs of `cell`; its outputs are `(y, N + p_N)`."""

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        return cell.init_carry(params["cell"], batch_shape)

    def project(params: Params, xs: Array) -> tuple[Any, Any]:
        first = jnp.ones_like(xs[..., :1])
        return tuple(cell.project(params["cell"], jnp.concatenate([f, xs], -1)) for f in (first, jnp.zeros_like(first)))

    def step(params: Params, carry: Carry, z: tuple[Any, Any], *noise: Noise) -> tuple[Carry, Any]:
        def think(state: tuple[Any, ...], n: Array) -> tuple[Any, None]:
            carry, used, mean, ponder = state
            here = jax.tree.map(lambda first, later: jnp.where(n == 0, first, later), *z)
            after, y = cell.step(params["cell"], carry, here, *noise)
            p = opened(params["halt"], y)
            running = used < 1
            last = running & ((used + p >= 1 - epsilon) | (n == max_ponder - 1))
            weight = jnp.where(last, 1 - used, jnp.where(running, p, 0.0))
            mean = jax.tree.map(lambda m, a: _added(m, a, weight, running), mean, (after, y))
            ponder = ponder + jnp.where(running, 1.0, 0.0) + jnp.where(last, weight, 0.0)
            return (select(running, after, carry), jnp.where(last, 1.0, used + weight), mean, ponder), None

        made = jax.eval_shape(lambda: cell.step(params["cell"], carry, z[0], *noise))
        carry = jax.tree.map(lambda leaf, after: leaf.astype(after.dtype), carry, made[0])
        mean = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, _summed_in(leaf.dtype)), made)
        used = jnp.zeros_like(jax.eval_shape(opened, params["halt"], made[1]))
        (_, _, mean, ponder), _ = jax.lax.scan(think, (carry, used, mean, used), jnp.arange(max_ponder))
        after, y = jax.tree.map(lambda leaf, one: leaf.astype(one.dtype), mean, made)
        return after, (y, ponder)

    return surrounding(
        cell, lambda drawn: _pondering(drawn, max_ponder, epsilon), init_carry=init_carry, project=project, step=step
    )


def _summed_in(dtype: Any) -> Any:
    return accumulator(dtype) if jnp.issubdtype(dtype, jnp.floating) else dtype


def _added(mean: Array, leaf: Array, weight: Array, running: Array) -> Array:
    """Returns `mean + weight * leaf`; of what is not floating, such as a counter, the value of the last run."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return select(running, leaf, mean)
    weight = weight.reshape(weight.shape + (1,) * (leaf.ndim - weight.ndim))
    return mean + leaf.astype(mean.dtype) * weight.astype(mean.dtype)
