"""Defines the LSTM whose units are open for a part of their periods. Gate order: `i f g o`, as of an LSTM."""

import math
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.recurrence.with_gaps import with_gaps
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params


@serializable
class PhasedLSTMCarry(NamedTuple):
    """`c [*batch, H]` and `h [*batch, H]`, as of an LSTM, and `cycles [*batch, H]`.

    The last one is the time since the sequence began in periods of each unit, without the whole ones: 0 ≤ cycles < 1.
    """

    c: Array
    h: Array
    cycles: Array


@checked
def phased_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    peephole_init: Initializer = initializers.zeros,
    leak: float = 0.001,
    open_ratio: float = 0.05,
    period_min: float = 1.0,
    period_max: float = 1000.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM whose units each rest for most of a period of time; the output is `hₜ`.

    **The last feature of each input is the time since the previous input**, as for `cfc`, whose docstring says what
    becomes of it at invalid steps, at resets and under `reverse`. The time t since the beginning of a sequence opens
    the gate k of each unit, which has a period τ, a shift s and an open ratio r:

    * `φₜ = ((t − s) mod τ) / τ`;
    * `kₜ = 2 φₜ / r` while the gate opens, `φₜ < r / 2`; `kₜ = 2 − 2 φₜ / r` while it closes, `φₜ < r`; and
      `kₜ = α φₜ`, a leak, while it is closed.

    With `c̃ₜ` and `h̃ₜ`, the states that a `peephole_lstm` would have next, `cₜ = kₜ ⊙ c̃ₜ + (1 − kₜ) ⊙ cₜ₋₁` and
    `hₜ = kₜ ⊙ h̃ₜ + (1 − kₜ) ⊙ hₜ₋₁` (Neil, Pfeiffer & Liu 2016, "Phased LSTM: accelerating recurrent network training
    for long or event-based sequences"). The output gate sees `c̃ₜ`, where the paper has `cₜ`; its authors said later
    that they meant this. To run without a leak after training, as the paper does, call `phased_lstm(…, leak=0.0)` and
    give the cell the same parameters. The loop is the plain one.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates i, f and o.
      forget_bias: the number added to the forget gate's initial bias.
      peephole_init: draws `peephole [3, H]` at once, in the order input, forget, output.
      leak: α, 0 ≤ α ≤ 1, through which closed units have a gradient.
      open_ratio: the initial r, 0 < r < 1, the part of a period for which a gate is open.
      period_min: the least initial period, in the unit of the gaps; they are log-uniform. The paper chooses them by
        task.
      period_max: the greatest.
      **options: see `CellOptions`; the parameters are `kernel [D − 1, 4, H]`, `recurrent_kernel [H, 4, H]`,
        `bias [4, H]` and `peephole [3, H]`, and of the time gate `log_period [H]`, `shift [H]`, which is drawn
        uniformly between 0 and the period, and `open_logit [H]`, for `r = σ(open_logit)`.

    Returns:
      A `Cell` with carry `PhasedLSTMCarry(c, h, cycles)`.

    Raises:
      ValueError: `features` is not a positive int; `leak`, `open_ratio`, `period_min` or `period_max` is out of range;
        from `init`: inputs of a single feature, which is the gap.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.phased_lstm(8, period_max=10.0)
      >>> values = jax.random.normal(jax.random.key(1), (5, 2, 3))
      >>> gaps = jnp.broadcast_to(jnp.array([0.0, 0.1, 0.4, 0.1, 1.4])[:, None, None], (5, 2, 1))
      >>> xs = jnp.concatenate([values, gaps], axis=-1)
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 4), xs)
      >>> ys.shape
      (5, 2, 8)
    """
    if not 0 <= leak <= 1:
        raise ValueError(f"phased_lstm: leak is {leak!r}, expected 0 ≤ leak ≤ 1")
    if not 0 < open_ratio < 1:
        raise ValueError(f"phased_lstm: open_ratio is {open_ratio!r}, expected 0 < open_ratio < 1")
    if not 0 < period_min <= period_max:
        raise ValueError(
            f"phased_lstm: period_min is {period_min!r} and period_max {period_max!r}, expected "
            "0 < period_min ≤ period_max"
        )

    def step(params: Params, carry: PhasedLSTMCarry, zs: tuple[Array, ...]) -> tuple[PhasedLSTMCarry, Array]:
        *gates, gap = zs
        U, c, h = params["recurrent_kernel"], carry.c, carry.h
        seen = product(h, U, zs[0].dtype)
        i, f, g, o = (z.astype(c.dtype) + seen[..., k, :] for k, z in enumerate(gates))
        p_i, p_f, p_o = (align(p, c) for p in params["peephole"])
        new_c = gate_activation(f + p_f * c) * c + gate_activation(i + p_i * c) * activation(g)
        new_h = gate_activation(o + p_o * new_c) * activation(new_c)
        period = jnp.exp(align(params["log_period"], c))
        cycles = _fraction(carry.cycles + gap / period)
        k = _openness(_fraction(cycles - align(params["shift"], c) / period), sigmoid(align(params["open_logit"], c)))
        c, h = k * new_c + (1 - k) * c, k * new_h + (1 - k) * h
        return PhasedLSTMCarry(c, h, cycles), h.astype(zs[0].dtype)

    def _openness(phase: Array, ratio: Array) -> Array:
        """Returns k, the openness of gates at a phase between 0 and 1."""
        slope = 2 * phase / ratio
        return jnp.where(phase < ratio, jnp.minimum(slope, 2 - slope), leak * phase)

    cell = step_cell(
        step,
        features,
        PhasedLSTMCarry,
        gates=("i", "f", "g", "o"),
        offsets={"f": forget_bias},
        extra={
            "peephole": (peephole_init, (3, features)),
            "log_period": partial(_uniform, low=math.log(period_min), high=math.log(period_max)),
            "shift": partial(_uniform, low=0.0, high=1.0),
            "open_logit": jax.nn.initializers.constant(math.log(open_ratio / (1 - open_ratio))),
        },
        **options,
    )

    def init(key: Array, in_features: int) -> Params:
        params = cell.init(key, in_features)
        return params | {"shift": params["shift"] * jnp.exp(params["log_period"])}

    return with_gaps("phased_lstm", cell._replace(init=init, cast=cast("recurrent_kernel")))


def _fraction(x: Array) -> Array:
    """Returns x without its whole part, between 0 and 1, with a derivative of 1."""
    return x - jax.lax.stop_gradient(jnp.floor(x))


def _uniform(key: Array, shape: tuple[int, ...], dtype: Any, *, low: float, high: float) -> Array:
    return jax.random.uniform(key, shape, accumulator(dtype), low, high).astype(dtype)
