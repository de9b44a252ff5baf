"""`costed` makes a layer of a cell whose steps have a cost; `act` and `skip` share it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.driver import Options, run_model, step_cell
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import layer
from jaxrnn.layers.width import width_of_cell
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.loop import silence
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps


def costed(
    where: str,
    cell: Cell,
    spending: Callable[[Cell], Cell],
    cost: str,
    *,
    gate: str,
    extra_features: int,
    offset: float,
    kernel_init: Initializer,
    param_dtype: Any,
) -> Layer:
    """Makes a layer of `spending(cell)`, whose outputs are `(y, cost [*batch])`, that returns y and the mean cost.

    The mean is over all valid steps, 0 if there are none. Parameters are `{"cell": …, gate: …}`: those of the cell for
    `extra_features` more inputs, and those of `opened`, whose bias is `offset` at first.
    """
    made = spending(cell)

    def init(key: Array, in_features: int) -> Params:
        k_cell, k_gate = jax.random.split(key)
        kernel = kernel_init(k_gate, (width_of_cell(where, cell), 1), accumulator(param_dtype)).astype(param_dtype)
        own = {"kernel": kernel, "bias": jnp.full(1, offset, param_dtype)}
        return {"cell": cell.init(k_cell, in_features + extra_features), gate: own}

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Any, Steps]:
        carry, (ys, costs), _ = run_model(made, Options(), params, carry, xs, steps)
        valid = jnp.ones(costs.shape, bool) if steps.valid is None else steps.valid
        mean = silence(valid, costs).sum() / jnp.maximum(valid.sum(), 1).astype(costs.dtype)
        return carry, ys, steps.with_cost(cost, mean)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Any]:
        carry, (y, _) = step_cell(made, params, carry, x)
        return carry, y

    return layer(where, init, run, step, made.init_carry, draws=cell.draw is not None, timed=cell.timed)


def opened(params: Params, y: Array) -> Array:
    """Returns the gate `σ(wᵀ y + b)`, `[*batch]`, in float32 at least, for `y [*batch, H]`."""
    wide = accumulator(jnp.result_type(y, *params.values()))
    z = jnp.einsum("...h,h->...", y.astype(wide), params["kernel"][:, 0].astype(wide))
    return jax.nn.sigmoid(z + params["bias"][0].astype(wide))
