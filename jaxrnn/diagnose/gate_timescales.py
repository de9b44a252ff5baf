"""`gate_timescales` measures for how many steps the gates of a cell let its state last."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.carries import ComplexCarry
from jaxrnn.diagnose.parts import Measured, check_any, means
from jaxrnn.diagnose.walk import Walk, walk
from jaxrnn.options import checked
from jaxrnn.recurrence.followed import floating_fields
from jaxrnn.types import Array, Carry, Cell, Inside, Layer, Params


@checked
def gate_timescales(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    context: Any = None,
) -> Any:
    """Returns for how many steps each number in the state of a gated cell lasts: until `1/e` of it is left.

    Of state i, step t keeps the factor `∂ sᵢₜ / ∂ sᵢₜ₋₁` while the gates are constants: the forget gate for the c of an
    `lstm`, the update gate for the h of a `gru`. The timescale is

        τᵢ = −1 / meanₜ log |∂ sᵢₜ / ∂ sᵢₜ₋₁|

    over the valid steps (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?"). For a cell of diagonal
    structure the factor is the whole derivative, `|a|` for a linear one. What a state does to its own gates through a
    peephole is in it, too; what it does through the recurrent product is not.

    Args:
      model: a `Cell`, or a causal `Layer`.
      params: from `model.init`.
      xs: inputs `[T, *batch, D]`.
      carry: initial carry, leaves `[*batch, ...]`; `model.init_carry` if None.
      lengths: as for `unroll`.
      mask: as for `unroll`.
      resets: as for `unroll`.
      context: as for `unroll`.

    Returns:
      For a cell, a dict of timescales in steps, `[*batch, H]`, by the fields of its carry that a step keeps a share of;
      `"state"` for a `ComplexCarry`. A field that only the recurrent product reads, such as the h of an `lstm`, has
      none. ∞ where nothing is lost, NaN for a sequence without steps. For a layer, a tree of such dicts as of
      `gradient_profile`, with `()` for layers without them: those without gates, and those made by `jaxrnn.layer`.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: no cell of the model has such a field; the layer is not causal.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8, forget_bias=4.0)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (50, 2, 3))
      >>> timescales = jaxrnn.diagnose.gate_timescales(cell, params, xs)
      >>> {field: of.shape for field, of in timescales.items()}, bool(timescales["c"].mean() > 10)
      ({'c': (2, 8)}, True)
    """
    where = "gate_timescales"
    run = walk(where, model, params, xs, carry, lengths=lengths, mask=mask, resets=resets, context=context)
    found = timescales_of(model, run)
    check_any(where, model, found, "gates that keep a share of its state")
    return found


def timescales_of(model: Cell | Layer, run: Walk) -> Any:
    """Returns the timescales, `()` for a model without any."""
    found = means(model, run, _logs_kept)
    return jax.tree.map(lambda mean: jnp.where(mean < 0, -1 / mean, jnp.where(mean >= 0, jnp.inf, mean)), found)


def _logs_kept(at: Inside) -> Measured:
    """Returns the logarithms of what a step keeps of each number, by field."""
    cell, params, carry, x = at
    z = cell.project(params, x)
    if cell.structure in ("diagonal", "linear_diagonal"):

        def rest(carry: Carry) -> Carry:
            return cell.step(params, carry, z)[0]
    elif cell.gates is not None:
        _, both = cell.gates(params, carry, z)

        def rest(carry: Carry) -> Carry:
            return both(carry)[0]
    else:
        return {}
    zeros = jax.tree.map(_zero, carry)
    ones = {field: jnp.ones_like(getattr(carry, field)) for field in floating_fields(carry)}
    if isinstance(carry, ComplexCarry):
        moved = jax.jvp(rest, (carry,), (zeros._replace(real=ones["real"]),))[1]
        return {"state": jnp.log(jnp.hypot(moved.real, moved.imag))}
    kept = {}
    for field in _remembered(rest, carry):
        # Each number depends on itself alone, so that one derivative along ones has those of all.
        moved = jax.jvp(rest, (carry,), (zeros._replace(**{field: ones[field]}),))[1]
        kept[field] = jnp.log(jnp.abs(getattr(moved, field)))
    return kept


def _zero(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(leaf.shape, jax.dtypes.float0)


def _remembered(rest: Callable[[Carry], Carry], carry: Carry) -> list[str]:
    """Returns the fields `[*batch, H]` on which their own next values depend, by reading the program of a step."""
    axes = getattr(carry, floating_fields(carry)[0]).ndim
    fields = [field for field in floating_fields(carry) if getattr(carry, field).ndim == axes]
    return [field for field in fields if _depends(rest, carry, field)]


def _depends(rest: Callable[[Carry], Carry], carry: Carry, field: str) -> bool:
    def own(value: Array) -> Array:
        return getattr(rest(carry._replace(**{field: value})), field)

    program = jax.make_jaxpr(own)(getattr(carry, field)).jaxpr
    reached = set(program.invars)
    for equation in program.eqns:
        if reached & {value for value in equation.invars if not isinstance(value, jax.extend.core.Literal)}:
            reached |= set(equation.outvars)
    return program.outvars[0] in reached
