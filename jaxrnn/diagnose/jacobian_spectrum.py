"""`jacobian_spectrum` measures how far perturbations of a model's state reach over some steps."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.diagnose.product_svd import Product, identity, log_singular_values, times
from jaxrnn.diagnose.state import flat, linearized, size_of
from jaxrnn.diagnose.walk import Walk, after, batch_axes, walk
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Cell, Layer, Params


@checked
def jacobian_spectrum(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    t: int,
    k: int,
    carry: Carry | None = None,
    *,
    context: Any = None,
) -> Array:
    """Returns the singular values of `∂ carryₜ₊ₖ / ∂ carryₜ`, where step t leads from carryₜ to carryₜ₊₁.

    They are the factors by which k steps stretch perturbations of the state, and by which gradients come back through
    these steps: all near 1 is an isometry, all near 0 forgets, one far above 1 explodes. They come from the Jacobians
    of the steps without their product, so that the smallest are as accurate as the largest: a QR decomposition of
    each, then rotations of the rows of the triangular factors.

    Args:
      model: a `Cell`, or a causal `Layer`.
      params: from `model.init`.
      xs: inputs `[T, *batch, D]`.
      t: the first of these steps, from 0.
      k: their number, 1 ≤ k ≤ T − t.
      carry: the carry before step 0, leaves `[*batch, ...]`; `model.init_carry` if None.
      context: as for `unroll`.

    Returns:
      `[*batch, n]`, descending, for the n floating numbers in the state of one sequence. What is too small for the
      dtype of the carry is 0.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: `t` or `k` is out of range; the layer is not causal.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (30, 3))
      >>> values = jaxrnn.diagnose.jacobian_spectrum(cell, params, xs, 10, 20)
      >>> values.shape, bool(values[0] < 0.1)
      ((4,), True)
    """
    run = walk("jacobian_spectrum", model, params, xs, carry, context=context)
    if t + k > run.xs.shape[0]:
        raise ValueError(
            f"jacobian_spectrum: t is {t} and k is {k}, expected t + k of at most {run.xs.shape[0]}, the steps of "
            f"{checks.shape_words(run.xs)}"
        )
    size_of("jacobian_spectrum", model, run)
    return _spectrum(model, run._replace(xs=run.xs[: t + k]), t)


@partial(jax.jit, static_argnames=("model", "t"))
def _spectrum(model: Cell | Layer, run: Walk, t: int) -> Array:
    carry, _ = jax.lax.scan(lambda carry, x: (after(model, run, carry, x)[0], None), run.carry, run.xs[:t])

    def body(at: tuple[Carry, Product], x: Array) -> tuple[tuple[Carry, Product], None]:
        carry, product = at
        carry, push = linearized(model, run, carry, x)
        return (carry, times(product, jax.vmap(push, -1, -1)(product.q))), None

    state, _ = flat(carry, batch_axes(model, run.xs))
    (_, product), _ = jax.lax.scan(body, (carry, identity(state)), run.xs[t:])
    return jnp.exp(log_singular_values(product))
