"""`exponential_cell` is `matrix_cell` with exponential input gates, a normaliser and a stabiliser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import log_sigmoid

from jaxrnn.carries import MLSTMCarry
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.recurrence.chunkwise import Inputs, advance
from jaxrnn.recurrence.loop import loop, select, silence
from jaxrnn.recurrence.matrix import heads_of, input_bytes, under, wide
from jaxrnn.recurrence.matrix_scan import METHODS, run
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.recurrence.split import entering
from jaxrnn.shapes import align, zeros
from jaxrnn.sharding import vary, varying
from jaxrnn.types import Array, Cell, Flow, Params

LARGEST = 80.0  # the largest exponent: a quotient by its exponential is nearly 0, and no gradient is 0 times infinity


class Projected(NamedTuple):
    """A projected input, and the input itself in the dtype of the computation."""

    q: Array
    k: Array
    v: Array
    log_input: Array
    log_forget: Array
    x: Array


def exponential_cell(
    inputs: Callable[[Params, Array], dict[str, Array]],
    init: Callable[..., Params],
    heads: int,
    keys: int,
    values: int,
    *,
    readout: Callable[[Params, Array, Array], Array],
    chunk: int = 64,
    epsilon: float = 0.0,
    dtype: Any = None,
) -> Cell:
    """Makes a cell of `Cₜ = fₜ Cₜ₋₁ + iₜ kₜ vₜᵀ`, `nₜ = fₜ nₜ₋₁ + iₜ kₜ`, `hₜ = Cₜᵀ qₜ / max(|nₜᵀ qₜ|, 1)` per head.

    The carry has `C` and `n` divided by `exp(mₜ)`, `mₜ = max(log fₜ + mₜ₋₁, log iₜ)`, which changes no output.
    Functions get the parameters in float32 at least, and the inputs in the dtype of the computation.

    Args:
      inputs: `(params, xs [..., D]) -> {"q": q, "k": k, "v": v, "log_input": log i, "log_forget": log f}` over any
        leading axes: `q` and `k [..., heads, K]`, `v [..., heads, V]`, and of both gates `[..., heads]`.
      init: `(key, in_features) -> params`.
      heads: the number of matrices in the state.
      keys: K, their rows.
      values: V, their columns.
      readout: `(params, hs [..., heads, V], xs) -> y`, the output.
      chunk: steps of a chunk.
      epsilon: added to the denominator of `hₜ` on the scale of the carry.
      dtype: of the computation; None: promoted from inputs and parameters. States are float32 at least.

    Returns:
      A `Cell` of structure `"linear_matrix"` with methods `"scan"` and `"chunked"`, on TPUs and NVIDIA GPUs `"kernel"`,
      as `matrix_scan` has them, and carry `MLSTMCarry(C, n, m)`, zero at first.
    """

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> MLSTMCarry:
        kind = accumulator(compute_dtype(dtype, *params.values()))
        shapes = (heads, keys, values), (heads, keys), (heads,)
        return MLSTMCarry(*(zeros((*batch_shape, *shape), kind) for shape in shapes))

    def project(params: Params, xs: Array) -> Projected:
        xs = xs.astype(compute_dtype(dtype, xs, *params.values()))
        return Projected(**inputs(wide(params, xs.dtype), xs), x=xs)

    def output(params: Params, ys: Array, m: Array, xs: Array) -> Array:
        """Returns the output from `Cᵀ q` and `nᵀ q` side by side."""
        least = jnp.exp(jnp.minimum(-m, LARGEST))[..., None]  # 1, on the scale of the carry
        hs = ys[..., :-1] / (jnp.maximum(jnp.abs(ys[..., -1:]), least) + epsilon)
        return readout(wide(params, xs.dtype), hs, xs).astype(xs.dtype)

    def step(params: Params, carry: MLSTMCarry, z: Projected) -> tuple[MLSTMCarry, Array]:
        m, (decay, gain) = _stabilized(carry.m, (z.log_input, z.log_forget))
        S, y = advance(_joined(carry), _scaled(z, decay, gain))
        return _parted(S, m), output(params, y, m, z.x)

    def scan(
        params: Params,
        carry: MLSTMCarry,
        xs: Array,
        flow: Flow,
        *,
        method: str,
        remat: Any,
        unroll: int | None,
    ) -> tuple[MLSTMCarry, Array]:
        def whole(params: Params, carry: MLSTMCarry, xs: Array, flow: Flow) -> tuple[MLSTMCarry, Array]:
            z, valid, resets, fresh = project(params, xs), flow.valid, flow.resets, flow.fresh

            def held(m: Array, gates: tuple[Array, Array]) -> tuple[Array, Any]:
                m, out = _stabilized(m, gates)
                return m, (m, *out)

            of_m = Flow(valid, resets, None if fresh is None else fresh.m, split=flow.split)
            start = _before_part(carry.m, (z.log_input, z.log_forget), of_m)
            m, (ms, decay, gain) = loop(held, start, (z.log_input, z.log_forget), of_m, unroll=unroll)
            scaled = under(Flow(valid, resets), _scaled(z, decay, gain))
            begin = None if fresh is None else _joined(fresh)
            S, ys = run(scaled, _joined(carry), begin, chunk=chunk, method=method, split=flow.split)
            ys = silence(valid, output(params, ys, ms, z.x))
            return _parted(S, m), ys

        how = {"method": method, "remat": remat}
        return in_segments(whole, params, carry, xs, flow, step_bytes=input_bytes(carry.C), multiple=chunk, **how)

    def learned(carry: MLSTMCarry) -> tuple[MLSTMCarry, tuple[str, ...]]:
        return carry, ("C", "n")  # `m` only scales both

    return Cell(
        init,
        init_carry,
        project,
        step,
        scan,
        "linear_matrix",
        METHODS,
        learned=learned,
        kernels=("kernel",),
        splits=True,
    )


def gate_params(key: Array, in_features: int, heads: int, param_dtype: Any) -> Params:
    """Draws the parameters of `log_gates`: at first they ignore the input and forget at rates from `σ(3)` to `σ(6)`."""
    forget = jnp.linspace(3, 6, heads, dtype=accumulator(param_dtype))
    bias = jnp.stack([0.1 * jax.random.normal(key, (heads,), forget.dtype), forget])
    return {"rate": jnp.zeros((in_features, 2, heads), param_dtype), "rate_bias": bias.astype(param_dtype)}


def log_gates(params: Params, xs: Array) -> dict[str, Array]:
    """Returns the logarithms of `exp(W_i x + b_i)` and `σ(W_f x + b_f)`, whose parameters are stacked."""
    rates = heads_of(xs, params["rate"])
    rates = rates + align(params["rate_bias"], rates)
    return {"log_input": rates[..., 0, :], "log_forget": log_sigmoid(rates[..., 1, :])}


def _stabilized(m: Array, gates: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
    """Returns `mₜ = max(log f + mₜ₋₁, log i)` and the stabilised log forget and input gates, both at most 0.

    The rounding error of `f + m` would add up over the steps, so the log forget gate compensates for it.
    """
    i, f = gates
    kept = f + m
    part = kept - m
    lost = (m - (kept - part)) + (f - part)  # this is exact (Knuth 1969, "The art of computer programming", 4.2.2)
    lost = lax.stop_gradient(jnp.where(jnp.isfinite(lost), lost, 0))
    new = jnp.maximum(kept, i)
    return new, (kept - new + lost, i - new)


def _before_part(m: Array, gates: tuple[Array, Array], flow: Flow) -> Array:
    """Returns the `m` before these steps, if `m` is the one before the whole sequence.

    A part takes any `m` to the larger of `m` plus its log forget gates and of what it makes of -∞.
    """
    if flow.split is None:
        return m

    def held(m: Array, gates: tuple[Array, Array]) -> tuple[Array, None]:
        i, f = gates
        return jnp.maximum(f + m, i), None

    lowest = vary(jnp.full_like(m, -jnp.inf), varying((m, gates)))
    own, _ = loop(held, lowest, gates, flow)
    kept = silence(flow.valid, gates[1]).sum(0)
    if flow.resets is not None:
        kept = select(flow.resets.any(0), jnp.full_like(kept, -jnp.inf), kept)
    return entering(flow.split, lambda m, summary: jnp.maximum(summary[0] + m, summary[1]), m, jnp.stack([kept, own]))


def _scaled(z: Projected, decay: Array, gain: Array) -> Inputs:
    """Appends a column of ones to `v`, so that the last column of the state is the normaliser."""
    v = jnp.concatenate([z.v, jnp.ones_like(z.v[..., :1])], -1)
    return Inputs(z.q, z.k * jnp.exp(gain)[..., None], v, decay[..., None])


def _joined(carry: MLSTMCarry) -> Array:
    return jnp.concatenate([carry.C, carry.n[..., None]], -1)


def _parted(S: Array, m: Array) -> MLSTMCarry:
    return MLSTMCarry(S[..., :-1], S[..., -1], m)
