"""The LSTM with a matrix for a memory.

Parameters: `query`, `key [D, heads, K]`, `value`, `gate [D, heads, V]`, `gate_bias`, `scale [heads, V]`,
`out [heads, V, H]`; of the input and the forget gate, in this order, `rate [D, 2, heads]` and `rate_bias [2, heads]`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from jaxrnn import checks, initializers
from jaxrnn.initializers import Initializer
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.recurrence.chunkwise import Inputs, advance
from jaxrnn.recurrence.loop import flip, loop, silence
from jaxrnn.recurrence.matrix import heads_of, merged, normalized, under
from jaxrnn.recurrence.matrix_scan import run
from jaxrnn.types import Array, Cell, Flow, Params

LARGEST = 80.0  # an exponent: what is divided by its power is 0 for all that follows, and not 0 times infinity


class MLSTMCarry(NamedTuple):
    """`C [*batch, heads, K, V]`, the memory; `n [*batch, heads, K]`, its normalizer; and `m [*batch, heads]`.

    Both are scaled by `exp(−m)`, which keeps them in the range of numbers.
    """

    C: Array
    n: Array
    m: Array


class Projected(NamedTuple):
    """A projected input, with the logarithms of both gates, and the input itself."""

    q: Array
    k: Array
    v: Array
    i: Array
    f: Array
    x: Array


def mlstm(
    features: int,
    *,
    heads: int = 4,
    keys: int | None = None,
    values: int | None = None,
    chunk: int = 64,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """An LSTM whose memory is a matrix a head, and whose gates do not see the state.

    `Cₜ = fₜ Cₜ₋₁ + iₜ kₜ vₜᵀ`, `nₜ = fₜ nₜ₋₁ + iₜ kₜ`, `hₜ = Cₜᵀ qₜ / max(|nₜᵀ qₜ|, 1)` and
    `yₜ = W_o (σ(W_g xₜ + b_g) ⊙ norm(hₜ))` in every head, with `iₜ = exp(W_i xₜ + b_i)`, `fₜ = σ(W_f xₜ + b_f)`, and
    `qₜ, √K kₜ, vₜ = W xₜ`, each its own (Beck et al. 2024, "xLSTM: extended long short-term memory"). Memory and
    normalizer are carried over `exp(mₜ)`, `mₜ = max(log fₜ + mₜ₋₁, log iₜ)`, which changes no output. `norm` divides by
    the root mean square. At first the gates see no input, `b_f` goes from 3 to 6 over the heads and `b_i ~ N(0, 0.1²)`.

    Args:
      features: H, the width of the output.
      heads: how many matrices the memory consists of.
      keys: K, rows of each; `H / heads` if None.
      values: V, columns of each; `H / heads` if None.
      chunk: steps that are run as products of matrices.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `MLSTMCarry(C, n, m)`.

    Raises:
      ValueError: a size is not a positive int; `heads` do not divide `features`, where that is asked for.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mlstm(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.C.shape, carry.m.shape
      ((5, 2, 8), (2, 2, 4, 4), (2, 2))
    """
    keys, values = checks.head_sizes("mlstm", features, heads, keys, values)

    def init(key: Array, in_features: int) -> Params:
        k_heads, k_gate, k_rate = jax.random.split(key, 3)
        sizes = {"heads": heads, "keys": keys, "values": values, "features": features}
        forget = jnp.linspace(3, 6, heads, dtype=accumulator(param_dtype))
        bias = jnp.stack([0.1 * jax.random.normal(k_rate, (heads,), forget.dtype), forget])
        return {
            **initializers.head_params(k_heads, in_features, **sizes, kernel_init=kernel_init, param_dtype=param_dtype),
            "gate": initializers.per_gate(kernel_init, k_gate, in_features, heads, values, param_dtype),
            "gate_bias": jnp.zeros((heads, values), param_dtype),
            "rate": jnp.zeros((in_features, 2, heads), param_dtype),
            "rate_bias": bias.astype(param_dtype),
        }

    def wide(params: Params, compute: Any) -> Params:
        return {name: p.astype(accumulator(compute)) for name, p in params.items()}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> MLSTMCarry:
        kind = accumulator(compute_dtype(dtype, *params.values()))
        shapes = (heads, keys, values), (heads, keys), (heads,)
        return MLSTMCarry(*(jnp.zeros((*batch_shape, *shape), kind) for shape in shapes))

    def project(params: Params, xs: Array) -> Projected:
        compute = compute_dtype(dtype, xs, *params.values())
        xs, params = xs.astype(compute), wide(params, compute)
        q, k, v = (heads_of(xs, params[name]) for name in ("query", "key", "value"))
        rates = heads_of(xs, params["rate"]) + params["rate_bias"]
        return Projected(q, k * keys**-0.5, v, rates[..., 0, :], log_sigmoid(rates[..., 1, :]), xs)

    def output(params: Params, ys: Array, m: Array, xs: Array) -> Array:
        """From `Cᵀ q` and `nᵀ q` side by side."""
        params = wide(params, xs.dtype)
        least = jnp.exp(jnp.minimum(-m, LARGEST))[..., None]  # 1, on the scale of the carry
        h = ys[..., :-1] / jnp.maximum(jnp.abs(ys[..., -1:]), least)
        h = sigmoid(heads_of(xs, params["gate"]) + params["gate_bias"]) * normalized(h, params["scale"])
        return merged(h, params["out"], xs.dtype).astype(xs.dtype)

    def step(params: Params, carry: MLSTMCarry, z: Projected) -> tuple[MLSTMCarry, Array]:
        m, (decay, gain) = _stabilized(carry.m, (z.i, z.f))
        S, y = advance(_joined(carry), _inputs(z, decay, gain))
        return _parted(S, m), output(params, y, m, z.x)

    def scan(
        params: Params, carry: MLSTMCarry, xs: Array, flow: Flow, *, method: str, reverse: bool, remat: Any, unroll: int
    ) -> tuple[MLSTMCarry, Array]:
        def whole(params: Params, carry: MLSTMCarry, xs: Array) -> tuple[MLSTMCarry, Array]:
            steps = (project(params, xs), flow.valid, flow.resets)
            z, valid, resets = flip(steps) if reverse else steps
            fresh = flow.fresh

            def held(m: Array, x: Any) -> tuple[Array, Any]:
                m, out = _stabilized(m, x)
                return m, (m, *out)

            of_m = Flow(valid, resets, None if fresh is None else fresh.m)
            m, (ms, decay, gain) = loop(held, carry.m, (z.i, z.f), of_m, unroll=unroll)
            inputs = under(Flow(valid, resets), _inputs(z, decay, gain))
            S, ys = run(inputs, _joined(carry), None if fresh is None else _joined(fresh), chunk=chunk, method=method)
            ys = silence(valid, output(params, ys, ms, z.x))
            return _parted(S, m), flip(ys) if reverse else ys

        return (whole if remat is None else jax.checkpoint(whole))(params, carry, xs)

    return Cell(init, init_carry, project, step, scan, "linear_matrix", ("scan", "chunked"))


def _stabilized(m: Array, gates: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
    """The next `m`, and what it leaves of the logarithms of the forget and the input gate: neither is above 0."""
    i, f = gates
    new = jnp.maximum(f + m, i)
    return new, (f + m - new, i - new)


def _inputs(z: Projected, decay: Array, gain: Array) -> Inputs:
    return Inputs(z.q, z.k * jnp.exp(gain)[..., None], _with_ones(z.v), decay[..., None])


def _with_ones(v: Array) -> Array:
    """Values with a further one of 1, under which the state keeps the normalizer."""
    return jnp.concatenate([v, jnp.ones_like(v[..., :1])], -1)


def _joined(carry: MLSTMCarry) -> Array:
    return jnp.concatenate([carry.C, carry.n[..., None]], -1)


def _parted(S: Array, m: Array) -> MLSTMCarry:
    return MLSTMCarry(S[..., :-1], S[..., -1], m)
