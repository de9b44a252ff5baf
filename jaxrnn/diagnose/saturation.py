"""`saturation` measures how often the gates of a cell are where their activations are flat."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.diagnose.parts import Measured, check_any, means
from jaxrnn.diagnose.walk import walk
from jaxrnn.options import checked
from jaxrnn.types import Activation, Array, Carry, Cell, Inside, Layer, Params

FLAT = 0.05  # of the largest slope
GRID = np.linspace(-8, 8, 1601)  # on which the largest slope is looked for


@checked
def saturation(
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
    """Returns how often each gate is saturated: the share of steps at which its activation is flat.

    An activation is flat where its slope is below 5 % of its largest: a sigmoid at `|x| > 4.36`, tanh at `|x| > 2.18`,
    relu at `x ≤ 0`. No gradient comes through a flat one, so a gate that is always saturated does not learn; a forget
    gate that is saturated open keeps what it has.

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
      For a cell, a dict of shares from 0 to 1 of the valid steps, `[*batch, H]`, by the names of the gates whose
      activations the cell tells (`activations` of `pointwise_cell`). Not among them are candidates inside which another
      gate acts, as those of `gru` and `mgu`. For a layer, a tree of such dicts as of `gradient_profile`, with `()` for
      layers without them.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: no cell of the model tells the activations of its gates; the layer is not causal.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (50, 2, 3))
      >>> shares = jaxrnn.diagnose.saturation(cell, params, 10 * xs)
      >>> {gate: of.shape for gate, of in shares.items()}, bool(shares["z"].mean() > 0.2)
      ({'r': (2, 8), 'z': (2, 8)}, True)
    """
    where = "saturation"
    run = walk(where, model, params, xs, carry, lengths=lengths, mask=mask, resets=resets, context=context)
    found = means(model, run, flat_gates)
    check_any(where, model, found, "gates whose activations are known")
    return found


def flat_gates(at: Inside) -> Measured:
    """Returns 1 for each gate that is flat at this step, 0 for the others, and NaN where it is not finite."""
    cell, params, carry, x = at
    if cell.gates is None:
        return {}
    known, _ = cell.gates(params, carry, cell.project(params, x))
    return {name: _flatness(activation, value) for name, (activation, value) in known.items()}


def _flatness(activation: Activation, x: Array) -> Array:
    flat = _slope(activation, x) < FLAT * _slope(activation, jnp.asarray(GRID, x.dtype)).max()
    return jnp.where(jnp.isnan(x), jnp.nan, flat.astype(x.dtype))


def _slope(activation: Activation, x: Array) -> Array:
    """Returns the absolute value of the derivative of an elementwise function."""
    return jnp.abs(jax.jvp(activation, (x,), (jnp.ones_like(x),))[1])
