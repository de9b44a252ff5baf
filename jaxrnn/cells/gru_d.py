"""Defines the GRU whose inputs may lack values. Gate order: `r z n` (reset, update, candidate)."""

from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.recurrence.with_gaps import with_gaps
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Activation, Array, Cell, Params


@serializable
class GRUDCarry(NamedTuple):
    """`h [*batch, H]`, the state; `deviation [*batch, D − 1]` and `waited [*batch, D − 1]`.

    `deviation` is the last observed value of each feature minus its mean, and `waited` the time since then, or 0 where
    the previous step observed the feature or there was none.
    """

    h: Array
    deviation: Array
    waited: Array


@checked
def gru_d(
    features: int,
    *,
    mean: float | tuple[float, ...] = 0.0,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    decay_init: Initializer = initializers.zeros,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a GRU for inputs that lack values, which it replaces by the last ones, decayed; the output is `hₜ`.

    **A NaN is a missing value. The last feature of each input is the time since the previous input**, as for `cfc`,
    whose docstring says what becomes of it at invalid steps, at resets and under `reverse`; it may not be missing.

    `mₜ` is 1 where a value of `xₜ` was observed and 0 where it is missing. `δₜ` is, for each feature, the time since it
    was last observed before step t, or since the sequence began. With the decays `γ = exp(−max(0, W_γ δₜ + b_γ))`, one
    for inputs, whose W_γ is diagonal, and one for the state,

    * a missing value is replaced by `γₓ ⊙ x′ + (1 − γₓ) ⊙ x̄`, where `x′` is the value last observed and `x̄` the mean;
      before any was observed it is `x̄`;
    * `ĥ = γₕ ⊙ hₜ₋₁` takes the place of the old state: `rₜ, zₜ = σ(W x̂ₜ + U ĥ + V mₜ + b)`,
      `h̃ₜ = tanh(W x̂ₜ + U (rₜ ⊙ ĥ) + V mₜ + b)`, each with its own weights, and `hₜ = (1 − zₜ) ⊙ ĥ + zₜ ⊙ h̃ₜ`

    (Che et al. 2018, "Recurrent neural networks for multivariate time series with missing values"). A step at which all
    values are missing is a step; an invalid step is none, but its time counts, as if it had been left out. The authors'
    code gives V the complement of `mₜ` and mixes with `hₜ₋₁` in the last equation; this cell follows the paper.

    Args:
      features: H, the width of the state.
      mean: `x̄`, the mean of the observed values in the training data, for each feature or for all; 0 is that of
        standardised data.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      decay_init: draws both W_γ, `input_decay [D − 1]` and `state_decay [D − 1, 1, H]`. With zeros, as in the authors'
        code, nothing decays at first.
      **options: see `CellOptions`. `kernel_init` draws W, `kernel [D − 1, 3, H]`, and V, `mask_kernel [D − 1, 3, H]`;
        the others are `recurrent_kernel [H, 3, H]`, `bias [3, H]`, and the b_γ, which are 0 at first,
        `input_decay_bias [D − 1]` and `state_decay_bias [H]`.

    Returns:
      A `Cell` with carry `GRUDCarry(h, deviation, waited)`.

    Raises:
      ValueError: `features` is not a positive int; from `init`: inputs of a single feature, which is the gap, or of
        another number than `mean` has.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.gru_d(8, mean=(36.6, 80.0))
      >>> temperature = jnp.array([36.5, jnp.nan, jnp.nan, 38.2])
      >>> pulse = jnp.array([jnp.nan, 75.0, 82.0, 96.0])
      >>> gaps = jnp.array([0.0, 0.5, 0.5, 2.0])
      >>> xs = jnp.stack([temperature, pulse, gaps], axis=-1)
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), xs)
      >>> ys.shape, bool(jnp.isfinite(ys).all())
      ((4, 8), True)
    """

    def step(params: Params, carry: GRUDCarry, zs: tuple[Array, ...]) -> tuple[GRUDCarry, Array]:
        *gates, known, observed, gap = zs
        wide, dot, U = gap.dtype, partial(product, dtype=gates[0].dtype), params["recurrent_kernel"]
        elapsed = carry.waited + gap
        state_decay = _decay(dot(elapsed, params["state_decay"][:, 0]), params.get("state_decay_bias"))
        input_decay = _decay(align(params["input_decay"], elapsed) * elapsed, params.get("input_decay_bias"))
        average = align(jnp.asarray(mean, wide), elapsed)
        replaced = jnp.where(observed, 0, average + input_decay * carry.deviation)
        filled = dot(replaced, params["kernel"])
        r, z, n = (gate.astype(wide) + filled[..., k, :] for k, gate in enumerate(gates))
        h = state_decay * carry.h
        seen = dot(h, U[:, :2])
        r, z = gate_activation(r + seen[..., 0, :]), gate_activation(z + seen[..., 1, :])
        h = (1 - z) * h + z * activation(n + dot(r * h, U[:, 2]))
        deviation = jnp.where(observed, known.astype(wide) - average, carry.deviation)
        return GRUDCarry(h, deviation, jnp.where(observed, 0, elapsed)), h.astype(gates[0].dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("r", "z", "n"), **options)

    def init(key: Array, in_features: int) -> Params:
        if isinstance(mean, tuple | list) and len(mean) != in_features:
            raise ValueError(
                f"gru_d: mean has {len(mean)} entries, expected {in_features}, one for each feature but the time gap"
            )
        dtype = options["param_dtype"]
        k_cell, k_mask, k_input, k_state = jax.random.split(key, 4)
        params = cell.init(k_cell, in_features) | {
            "mask_kernel": initializers.per_gate(options["kernel_init"], k_mask, in_features, 3, features, dtype),
            "input_decay": decay_init(k_input, (in_features,), dtype),
            "state_decay": decay_init(k_state, (in_features, 1, features), dtype),
        }
        if options["use_bias"]:
            params["input_decay_bias"] = jnp.zeros(in_features, dtype)
            params["state_decay_bias"] = jnp.zeros(features, dtype)
        return params

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> GRUDCarry:
        h, values = cell.init_carry(params, batch_shape).h, params["kernel"].shape[0]
        return GRUDCarry(h, *(zeros((*batch_shape, values), h.dtype) for _ in range(2)))

    def project(params: Params, xs: Array) -> tuple[Array, ...]:
        observed = ~jnp.isnan(xs)
        known = jnp.where(observed, xs, 0)
        gates = cell.project(params, known)
        masks = product(observed, params["mask_kernel"], gates[0].dtype)
        both = ((gate.astype(masks.dtype) + masks[..., k, :]).astype(gate.dtype) for k, gate in enumerate(gates))
        return (*both, known, observed)

    once = cast("kernel", "recurrent_kernel", "state_decay")
    timed = with_gaps("gru_d", cell._replace(init=init, init_carry=init_carry, project=project, cast=once))
    return timed._replace(example_features=len(mean) + 1) if isinstance(mean, tuple | list) else timed


def _decay(x: Array, bias: Array | None) -> Array:
    """Returns the decay γ. At 0 the derivative of its maximum is a half in each direction, so that decays can begin."""
    return jnp.exp(-jnp.maximum(0, x if bias is None else x + align(bias, x)))
