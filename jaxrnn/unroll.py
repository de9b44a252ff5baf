"""The one driver: a cell over a sequence, or one step at a time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks, trees
from jaxrnn.precision import accumulator, cast_once
from jaxrnn.recurrence.elapsed import with_elapsed
from jaxrnn.recurrence.loop import entries, loop, silence, valid_steps
from jaxrnn.recurrence.segments import remade
from jaxrnn.sharding import laid_as, vary, varying
from jaxrnn.types import Array, Carry, Cell, Flow, Layer, Method, Params, Remat


def methods(cell: Cell) -> tuple[str, ...]:
    """The methods that `unroll` can run `cell` with.

    Args:
      cell: the recurrence.

    Returns:
      Their names, the definition first.

    Raises:
      ValueError: `cell` is not a cell.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.methods(jaxrnn.lstm(8)), jaxrnn.methods(jaxrnn.gru(8, reset="before"))
      (('scan', 'fused'), ('scan',))
    """
    trees.check_cell("methods", cell)
    return cell.methods if cell.scan is not None else ("scan",)


def unroll(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    method: Method = "auto",
    remat: Remat = None,
    unroll: int | None = None,
    key: Array | None = None,
) -> tuple[Carry, Array]:
    """Runs `cell` over the leading axis of `xs`.

    Args:
      cell: the recurrence.
      params: from `cell.init`; any mapping of such arrays will do.
      xs: inputs, floating, `[T, *batch, D]`; for a cell of images, `[T, *batch, *spatial, D]`. What stands at an
        invalid step, NaN included, reaches nothing. But for time: a cell with times (`cell.timed`, as of `cfc`) is
        given the time since the valid step before in the direction of travel, over invalid ones between the two.
      carry: initial carry, leaves `[*batch, ...]`; `cell.init_carry` if None.
      lengths: valid steps of each row, int `[*batch]`, 0 ≤ length ≤ T (a larger one counts as T); all T if None. A
        negative one is an error in an array of NumPy or on the CPU; elsewhere no number is read, and it counts as 0.
      mask: valid steps, bool `[T, *batch]`, any pattern. At an invalid step the carry holds and the output is 0.
      resets: bool `[T, *batch]`, True at the first step of a new sequence: the cell's own initial carry, not `carry`,
        replaces the state before that step, valid or not. The segments stay the same under `reverse`.
      reverse: from the last valid step to the first; outputs stay aligned with inputs.
      method: `"scan"` loops `step`: the definition. `"fused"` is the dense engine. `"auto"` takes the fastest.
      remat: what to compute again in the backward pass instead of keeping it: None, nothing, but for what the CPU makes
        again in less time; `"step"` or `"carries"`, all but each step's carry; an int, all but every so-many-th carry.
      unroll: steps written out in one iteration of the compiled loop. None: 1 on the CPU and 4 elsewhere, whichever it
        is compiled for; 1 where there are few steps, or `jax.export` does not know how many.
      key: draws the masks of a cell that has any (`zoneout`, `recurrent_dropout`, `weight_dropout`), once, before the
        loop; None: deterministic. Other cells do not look at it.

    Returns:
      `(carry, ys)`: the carry after each row's last valid step, and outputs `[T, *batch, H]`, zero where invalid, in
      the dtype of the computation. Carries are float32 at least.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument and what was expected.
      ValueError: both `lengths` and `mask` are given; the cell has no such `method`; `remat` or `unroll` is not
        one of the above.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
      >>> carry, ys = jaxrnn.unroll(cell, params, xs, lengths=jax.numpy.array([5, 2]))
      >>> ys.shape, bool((ys[2:, 1] == 0).all())
      ((5, 2, 8), True)
    """
    trees.check_cell("unroll", cell)
    xs = checks.xs_of("unroll", xs, features=cell.num_feature_axes)
    because = checks.shape_words(xs)
    params = trees.plain("unroll", params)
    trees.check_params("unroll", cell, params, xs.shape[-1], because)
    if carry is not None:
        trees.check_carry("unroll", cell, params, carry, xs.shape[1:-1], because)
    checks.check_steps("unroll", xs, lengths, mask, resets, cell.num_feature_axes)
    checks.check_bool("unroll", "reverse", reverse)
    checks.check_choice("unroll", "method", method, ("auto", *methods(cell)))
    checks.check_remat("unroll", remat)
    if unroll is not None:
        checks.check_positive("unroll", "unroll", unroll)
    if key is not None:
        checks.check_key("unroll", key)
    how = {"reverse": reverse, "method": method, "remat": remat, "unroll": unroll}
    return _unroll(cell, params, xs, carry, lengths, mask, resets, key, **how)


@partial(jax.jit, static_argnames=("cell", "reverse", "method", "remat", "unroll"))
def _unroll(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry | None,
    lengths: Array | None,
    mask: Array | None,
    resets: Array | None,
    key: Array | None,
    *,
    reverse: bool,
    method: Method,
    remat: Remat,
    unroll: int | None,
) -> tuple[Carry, Array]:
    fresh = cell.init_carry(params, xs.shape[1:-1])
    carry = _settled(cell, params, fresh if carry is None else carry, xs)
    valid = valid_steps(lengths, mask, xs.shape[0])
    resets = entries(resets) if reverse else resets
    if cell.timed:
        xs = with_elapsed(xs, valid, resets, reverse=reverse)
    xs = silence(valid, xs)
    fresh = None if resets is None else _settled(cell, params, fresh, xs)
    noise = None
    if key is not None and cell.draw is not None:
        cell, params, noise = cell.draw(key, params, xs.shape[:-1])

    def run(params: Params, carry: Carry, inputs: Any) -> tuple[Carry, Array]:
        xs, valid, resets, masks = inputs
        flow = Flow(valid, resets, fresh, None if noise is None else noise._replace(steps=masks))
        if method != "scan" and cell.scan is not None:
            policy = remat if isinstance(remat, str) else None
            return cell.scan(params, carry, xs, flow, method=method, reverse=reverse, remat=policy, unroll=unroll)
        step = cell.step if remat is None else jax.checkpoint(cell.step, prevent_cse=False)
        zs = cell.project(params, xs)
        held = _held(cell, params, zs)
        return loop(lambda *at_t: step(held(), *at_t), carry, zs, flow, reverse=reverse, unroll=unroll)

    inputs = (xs, valid, resets, () if noise is None else noise.steps)
    if isinstance(remat, int):
        return remade(run, params, carry, inputs, remat, reverse=reverse)
    return run(params, carry, inputs)


def _held(cell: Cell, params: Params, zs: Any) -> Callable[[], Params]:
    """What a loop over `step` gives it for parameters: cast already, where the cell tells how."""
    cast = cell.cast
    return (lambda: params) if cast is None else cast_once(params, partial(cast, dtype=jax.tree.leaves(zs)[0].dtype))


def step(cell: Cell | Layer, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
    """Runs `cell` for one step: the same numbers as `unroll`, one input at a time.

    Args:
      cell: the recurrence, or a causal layer, whose own `step` is taken.
      params: from `cell.init`.
      carry: from `cell.init_carry`, `unroll` or the step before; leaves `[*batch, ...]`.
      x: one input, floating, `[*batch, D]`.

    Returns:
      `(carry, y)` with `y [*batch, H]`. The carry keeps the dtype that it is given in, so that `lax.scan` can loop this
      function, whatever the inputs promote to; a carry in half precision becomes float32.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument and what was expected.
      ValueError: `cell` is a layer that is not causal; it names the part that is not.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry = cell.init_carry(params, (2,))
      >>> carry, y = jaxrnn.step(cell, params, carry, jax.numpy.ones((2, 3)))
      >>> y.shape
      (2, 8)
    """
    if isinstance(cell, Layer):
        return trees.step_of("step", cell)(params, carry, x)
    trees.check_cell("step", cell)
    x = checks.xs_of("step", x, name="x", axes=1, layout="[*batch, D]", features=cell.num_feature_axes)
    because = f"x of shape {x.shape}"
    params = trees.plain("step", params)
    trees.check_params("step", cell, params, x.shape[-1], because)
    trees.check_carry("step", cell, params, carry, x.shape[:-1], because)
    return _step(cell, params, carry, x)


@partial(jax.jit, static_argnames=("cell",))
def _step(cell: Cell, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
    new, y = cell.step(params, _settled(cell, params, carry, x[None]), cell.project(params, x))
    return jax.tree.map(_as_given, carry, new), y


def _as_given(before: Array, after: Array) -> Array:
    """Casts a carry back to the dtype it came in, so that `lax.scan` can loop `step`; half precision stays widened."""
    dtype = jnp.result_type(before)
    return after.astype(dtype) if dtype == accumulator(dtype) else after


def _settled(cell: Cell, params: Params, carry: Carry, xs: Array) -> Carry:
    """`carry` with the types in which a step leaves the cell's own, so that they never change inside a loop."""

    def first_step(params: Params, xs: Array) -> Carry:
        start = cell.init_carry(params, xs.shape[1:-1])
        return cell.step(params, start, cell.project(params, xs.sum(0)))[0]  # T may be 0: there is no first one

    after = jax.eval_shape(first_step, params, xs)
    carry = jax.tree.map(lambda leaf, out: laid_as(jnp.asarray(leaf, out.dtype), out), carry, after)
    return vary(carry, varying((params, carry, xs)))
