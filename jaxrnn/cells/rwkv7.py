"""Defines RWKV-7's time mixing. Order of `mix [6, D]`: `r d k v a g` (receptance, decay, key, value, rate, gate).

Parameters: `query`, `key [D, heads, K]`, `value [D, heads, V]`, `out [heads, V, H]`; for decays `decay_down [D, R]`,
`decay_up [R, heads, K]` and `decay_bias [heads, K]`, the same as `rate_…` for rates, `gate_down [D, G]` and
`gate_up [G, heads, V]`; `erase`, `replace`, `bonus [heads, K]`; `scale`, `bias [heads, V]` of the group norm.
"""

import math
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from jaxrnn import checks, initializers
from jaxrnn.carries import serializable
from jaxrnn.cell_options import MatrixOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence import delayed
from jaxrnn.recurrence.chunkwise import Inputs, advance
from jaxrnn.recurrence.loop import silence
from jaxrnn.recurrence.matrix import heads_of, input_bytes, merged, under, unit, wide
from jaxrnn.recurrence.matrix_scan import METHODS, run
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Cell, Flow, Params

LEAST = math.exp(-0.5)  # log decays are at least its negative
EPSILON = 64e-5  # of the group norm
MIXES = (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)  # exponents of the channels' initial shares of the current input


@serializable
class RWKV7Carry(NamedTuple):
    """`x [*batch, D]`, the last input, and `S [*batch, heads, K, V]`, a matrix per head."""

    x: Array
    S: Array


@checked
def rwkv7(
    features: int,
    *,
    rank: int | None = None,
    gate_rank: int | None = None,
    **options: Unpack[MatrixOptions],
) -> Cell:
    """Makes RWKV-7's time mixing: a delta rule with a decay and a rate per key channel.

    `xₜⁱ = xₜ + μⁱ ⊙ (xₜ₋₁ − xₜ)` for each `i` of `r d k v a g`; per head `rₜ, kₜ, vₜ = W xₜⁱ`,
    `wₜ = exp(−e^(−½) σ(W₂ tanh(W₁ xₜᵈ) + b))`, `aₜ = σ(W₂ W₁ xₜᵃ + b)` and `gₜ = W₂ σ(W₁ xₜᵍ)`, each with its own
    weights. With `κₜ` of length 1 in the direction of `ξ ⊙ kₜ`, and `k̃ₜ = kₜ ⊙ (1 + (aₜ − 1) ⊙ α)`,
    `Sₜ = (diag(wₜ) − (aₜ ⊙ κₜ) κₜᵀ) Sₜ₋₁ + k̃ₜ vₜᵀ`, `pₜ = norm(Sₜᵀ rₜ) + (rₜ · (ρ ⊙ k̃ₜ)) vₜ`, `yₜ = W_o (gₜ ⊙ pₜ)`
    (Peng et al. 2025, "RWKV-7 'Goose' with expressive dynamic state evolution"). `norm` is a layer norm of each head.
    It has no value residual, which needs the values of a network's first layer. `xₜ₋₁` is the last valid input of the
    sequence, zero at its beginning.

    At first `μ`, `b`, `ξ`, `α` and `ρ` are as in the authors' code for the first of several layers, where each channel
    has its own rate of forgetting; the `W₁` are zero and the `W₂` orthogonal, times 0.1. `W_o` is zero there, but not
    here, because that requires a residual connection.

    Args:
      features: H, the width of the output.
      rank: R, the rank of the kernels of decays and rates; `2.5 √H` if None, as a multiple of 32.
      gate_rank: G, the rank of the gate's kernel; `5 √H` if None, as a multiple of 32.
      **options: see `MatrixOptions`; `kernel_init` draws `W_r`, `W_k`, `W_v` and `W_o`, each as a matrix.

    Returns:
      A `Cell` with carry `RWKV7Carry(x, S)`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features` where it has to.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.rwkv7(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.x.shape, carry.S.shape
      ((5, 2, 8), (2, 3), (2, 2, 4, 4))
    """
    heads, keys, values = checks.head_sizes("rwkv7", features, options)
    rank = _multiple(2.5 * math.sqrt(features)) if rank is None else rank
    gate_rank = _multiple(5 * math.sqrt(features)) if gate_rank is None else gate_rank
    sizes = {"heads": heads, "keys": keys, "values": values, "features": features}
    kernel_init, dtype, param_dtype = options["kernel_init"], options["dtype"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_decay, k_rate, k_gate = jax.random.split(key, 4)
        kind, channels = accumulator(param_dtype), heads * keys

        def up(key: Array, rows: int, width: int) -> Array:
            scale = 0.1 * max(1, math.sqrt(rows / (heads * width)))
            return jax.nn.initializers.orthogonal(scale)(key, (rows, heads * width), kind).reshape(rows, heads, width)

        rising = jnp.linspace(0, 1, channels, dtype=kind).reshape(heads, keys)
        across = jnp.linspace(-1, 1, keys, dtype=kind)
        params = {
            **initializers.head_params(k_heads, in_features, **sizes, kernel_init=kernel_init, param_dtype=kind),
            "mix": 1 - (jnp.arange(in_features, dtype=kind) / in_features)[None] ** jnp.array(MIXES, kind)[:, None],
            "decay_down": jnp.zeros((in_features, rank), kind),
            "decay_up": up(k_decay, rank, keys),
            "decay_bias": -5.5 + 6 * rising + 2.5 * (across * jnp.abs(across))[None],
            "rate_down": jnp.zeros((in_features, rank), kind),
            "rate_up": up(k_rate, rank, keys),
            "rate_bias": -0.19 + 0.4 * (rising - 0.5) + 0.3 * (across * jnp.abs(across))[None],
            "gate_down": jnp.zeros((in_features, gate_rank), kind),
            "gate_up": up(k_gate, gate_rank, values),
            "erase": 0.71 - 0.1 * (rising - 0.5),
            "replace": jnp.full((heads, keys), 1.02, kind),
            "bonus": jnp.full((heads, keys), -0.04, kind),
            "bias": jnp.zeros((heads, values), kind),
        }
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> RWKV7Carry:
        kind = accumulator(compute_dtype(dtype, *params.values()))
        shapes = (params["mix"].shape[-1],), (heads, keys, values)
        return RWKV7Carry(*(zeros((*batch_shape, *shape), kind) for shape in shapes))

    def project(params: Params, xs: Array) -> Array:
        return xs.astype(compute_dtype(dtype, xs, *params.values()))

    def seen(params: Params, xs: Array, before: Array) -> tuple[Inputs, Array]:
        """Returns the recurrence's inputs, and the gate, from inputs and the previous ones."""
        params, compute = wide(params, xs.dtype), xs.dtype
        x = xs.astype(before.dtype)
        x_r, x_d, x_k, x_v, x_a, x_g = ((x + align(mix, x) * (before - x)).astype(compute) for mix in params["mix"])

        def through(x: Array, name: str, activation: Any = lambda x: x) -> Array:
            narrow = activation(product(x, params[f"{name}_down"], compute))
            return heads_of(narrow.astype(compute), params[f"{name}_up"])

        k = heads_of(x_k, params["key"])
        log_decay = -LEAST * sigmoid(through(x_d, "decay", jnp.tanh) + align(params["decay_bias"], k))
        rate = sigmoid(through(x_a, "rate") + align(params["rate_bias"], k))
        along = unit(align(params["erase"], k) * k)
        made = Inputs(
            q=heads_of(x_r, params["query"]),
            k=k * (1 + (rate - 1) * align(params["replace"], k)),
            v=heads_of(x_v, params["value"]),
            log_decay=log_decay,
            read=along * jnp.exp(-log_decay),  # the paper reads the state before its decay
            erase=rate * along,
        )
        return made, through(x_g, "gate", sigmoid)

    def output(params: Params, ys: Array, z: Inputs, gate: Array, compute: Any) -> Array:
        params = wide(params, compute)
        centred = ys - ys.mean(-1, keepdims=True)
        normed = centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + EPSILON)
        bonus = (z.q * align(params["bonus"], z.q) * z.k).sum(-1, keepdims=True) * z.v
        ys = gate * (align(params["scale"], ys) * normed + align(params["bias"], ys) + bonus)
        return merged(ys, params["out"], compute).astype(compute)

    def step(params: Params, carry: RWKV7Carry, x: Array) -> tuple[RWKV7Carry, Array]:
        z, gate = seen(params, x, carry.x)
        S, y = advance(carry.S, z)
        return RWKV7Carry(x.astype(carry.x.dtype), S), output(params, y, z, gate, x.dtype)

    def scan(
        params: Params,
        carry: RWKV7Carry,
        xs: Array,
        flow: Flow,
        *,
        method: str,
        remat: Any,
        unroll: int | None,
    ) -> tuple[RWKV7Carry, Array]:
        del unroll

        def whole(params: Params, carry: RWKV7Carry, xs: Array, flow: Flow) -> tuple[RWKV7Carry, Array]:
            xs, valid, resets = project(params, xs), flow.valid, flow.resets
            last, before = _shifted(carry.x, xs, flow)
            z, gate = seen(params, xs, before)
            steps, fresh = under(Flow(valid, resets), z), flow.fresh and flow.fresh.S
            S, ys = run(steps, carry.S, fresh, chunk=options["chunk"], method=method, split=flow.split)
            ys = silence(valid, output(params, ys, z, gate, xs.dtype))
            return RWKV7Carry(last, S), ys

        how = {"method": method, "remat": remat}
        return in_segments(
            whole, params, carry, xs, flow, step_bytes=input_bytes(carry.S), multiple=options["chunk"], **how
        )

    return Cell(init, init_carry, project, step, scan, "linear_matrix", METHODS, kernels=("kernel",), splits=True)


def _shifted(last: Array, xs: Array, flow: Flow) -> tuple[Array, Array]:
    """Returns the last input, and the previous input of each step."""
    parts = jnp.stack([jnp.zeros_like(xs), xs], -2)
    fresh = None if flow.fresh is None else flow.fresh.x[..., None, :]
    pending, before = delayed.over_time(
        last[..., None, :], parts, valid=flow.valid, resets=flow.resets, fresh=fresh, split=flow.split
    )
    return pending[..., 0, :], before


def _multiple(size: float) -> int:
    return 32 * max(1, round(size / 32))
