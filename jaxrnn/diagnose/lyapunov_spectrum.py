"""`lyapunov_spectrum` measures how fast perturbations of a model's state grow or shrink."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.diagnose.growth import growth
from jaxrnn.diagnose.state import flat, linearized, size_of
from jaxrnn.diagnose.walk import Walk, batch_axes, start, walk
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import hold
from jaxrnn.types import Array, Carry, Cell, Layer, Params

KEY = 0  # of the first directions; almost every choice leads to the same exponents


@checked
def lyapunov_spectrum(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    count: int | None = None,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    context: Any = None,
) -> Array:
    """Returns the Lyapunov exponents of a model's state along its run over `xs`.

    A perturbation of the state in the direction that belongs to exponent λ grows like `exp(λ t)`: the state forgets if
    the largest exponent is negative, and is chaotic if it is positive. With `Jₜ` the Jacobian of step t and orthonormal
    directions Q,

        Qₜ₊₁ Rₜ = Jₜ Qₜ,  λᵢ = meanₜ log |Rₜ[i, i]|

    (Benettin et al. 1980; for recurrent networks Engelken, Wolf & Abbott 2023, "Lyapunov spectra of chaotic recurrent
    neural networks"). Directions start at random from a fixed key, so a short run has an error of the order of 1 / T. A
    cell of diagonal structure has the features of its state for directions, and its exponents are exact for any T.

    Args:
      model: a `Cell`, or a causal `Layer`.
      params: from `model.init`.
      xs: inputs `[T, *batch, D]`, T ≥ 1.
      count: the number of exponents, the largest; None: one for each floating number in the state of one sequence.
      carry: initial carry, leaves `[*batch, ...]`; `model.init_carry` if None.
      lengths: as for `unroll`; the mean is over the valid steps of each sequence, and NaN without any.
      mask: as for `unroll`.
      resets: as for `unroll`. A reset replaces the state, and directions go on: the mean is over all sequences in one.
      context: as for `unroll`.

    Returns:
      Exponents per step, `[*batch, count]`, natural logarithms in descending order, differentiable in parameters,
      inputs and carry. A direction that a single step overwrites has −inf: so has every one of an empty `slstm`, whose
      first step forgets all; give it the carry of `unroll` over earlier inputs.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: `count` is not an int from 1 to the size of the state; the layer is not causal.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (200, 3))
      >>> exponents = jaxrnn.diagnose.lyapunov_spectrum(cell, params, xs, 3)
      >>> exponents.shape, bool(exponents[0] < 0)
      ((3,), True)
    """
    where = "lyapunov_spectrum"
    run = walk(where, model, params, xs, carry, lengths=lengths, mask=mask, resets=resets, context=context)
    if run.xs.shape[0] == 0:
        raise checks.ShapeError(
            f"lyapunov_spectrum: xs has shape {run.xs.shape}, expected [T, *batch, D] with T of 1 or more"
        )
    size = size_of(where, model, run)
    if count is not None and count > size:
        raise ValueError(
            f"lyapunov_spectrum: count is {count}, expected at most {size}, the floating numbers in the state of one "
            "sequence"
        )
    return spectrum_of(model, run, size if count is None else count, size)


@partial(jax.jit, static_argnames=("model", "count", "size"))
def spectrum_of(model: Cell | Layer, run: Walk, count: int, size: int) -> Array:
    """Returns the `count` largest exponents of a state of this size."""
    axes = batch_axes(model, run.xs)
    state, _ = flat(run.carry, axes)
    if isinstance(model, Cell) and model.structure in ("diagonal", "linear_diagonal"):
        directions = jnp.eye(size, dtype=state.dtype)
    else:
        directions = jnp.linalg.qr(jax.random.normal(jax.random.key(KEY), (size, size), state.dtype)[:, :count])[0]
    directions = jnp.broadcast_to(directions, (*state.shape, directions.shape[-1]))

    def body(before: tuple[Carry, Array], at_t: Any) -> tuple[tuple[Carry, Array], Array]:
        carry, directions = before
        x, valid, reset = at_t
        carry = start(model, run, carry, x, reset)
        new, push = linearized(model, run, carry, x)
        moved, logs = growth(jax.vmap(push, -1, -1)(directions))
        return hold(valid, (carry, directions), (new, moved), logs)

    _, logs = jax.lax.scan(body, (run.carry, directions), (run.xs, run.valid, run.resets))
    if run.valid is None:
        return -jnp.sort(-logs.mean(0), -1)[..., :count]
    return -jnp.sort(-logs.sum(0) / run.valid.sum(0)[..., None].astype(logs.dtype), -1)[..., :count]
