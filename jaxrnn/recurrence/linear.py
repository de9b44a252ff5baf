"""`linear_cell` makes a cell from the coefficients of `hₜ = aₜ ⊙ hₜ₋₁ + bₜ`; the engine owns the scan."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.carries import BegunCarry, ComplexCarry, HiddenCarry
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.linear_scan import affine_scan
from jaxrnn.recurrence.loop import select, silence
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.recurrence.split_scans import affine
from jaxrnn.shapes import align, zeros
from jaxrnn.sharding import vary, varying
from jaxrnn.types import Array, Carry, Cell, Flow, Params


class Coefficients(NamedTuple):
    """A projected input.

    Attributes:
      a: the multiplier of the state; None where it does not depend on the input.
      b: the additive term.
      first: the additive term of the first step of a sequence; None: `b`, too.
      x: the input, in the dtype of the computation.
    """

    a: Any
    b: Array
    first: Any
    x: Array


@checked
def linear_cell(
    gates: Callable[[Params, Array], Any],
    init: Callable[..., Params],
    features: int,
    *,
    decay: Callable[[Params], Array] | None = None,
    first: Callable[[Params, Array], Array] | None = None,
    readout: Callable[[Params, Array, Array], Array] | None = None,
    complex_state: bool = False,
    dtype: Any = None,
) -> Cell:
    """Makes a cell whose state obeys `hₜ = aₜ ⊙ hₜ₋₁ + bₜ`, with `aₜ` and `bₜ` from the input alone.

    Functions get the parameters in float32 at least, and the inputs in the dtype of the computation.

    Args:
      gates: `(params, xs [..., D]) -> (a, b)`, both `[..., N]`, over any leading axes.
      init: `(key, in_features) -> params`, real arrays.
      features: N, the width of the state.
      decay: `params -> a [N]`, for a multiplier that does not depend on the input; `gates` returns `b` alone then.
      first: `(params, xs) -> b`, the additive term of the first step of a sequence, where it differs.
      readout: `(params, h [..., N], xs) -> y`, the output; `h` itself if None.
      complex_state: whether `a` and `b` are complex.
      dtype: of the computation; None: promoted from inputs and parameters. States are float32 at least.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with methods `"scan"`, `"associative"` and `"chunked"`, and on TPUs and
      NVIDIA GPUs `"kernel"`, as `linear_scan` has them. Its carry starts at zero: `HiddenCarry(h)`;
      `ComplexCarry(real, imag)` for a complex state; `BegunCarry(h, begun)` with `first`.

    Raises:
      ValueError: both `first` and `complex_state`.

    Example:
      A leaky integrator, `hₜ = σ(λ) ⊙ hₜ₋₁ + W xₜ`, whose leak is learned:

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def init(key, in_features):
      ...     return {"kernel": jax.random.normal(key, (in_features, 8)), "leak": jnp.ones(8)}
      >>> def gates(params, xs):
      ...     return xs @ params["kernel"]
      >>> cell = jaxrnn.linear_cell(gates, init, 8, decay=lambda params: jax.nn.sigmoid(params["leak"]))
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    if first is not None and complex_state:
        raise ValueError("linear_cell: first and complex_state are both given, expected at most one")

    def wide(params: Params, compute: Any) -> Params:
        return {name: p.astype(accumulator(compute)) for name, p in params.items()}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kind, shape = accumulator(compute_dtype(dtype, *params.values())), (*batch_shape, features)
        if complex_state:
            return ComplexCarry(zeros(shape, kind), zeros(shape, kind))
        h = zeros(shape, kind)
        return HiddenCarry(h) if first is None else BegunCarry(h, zeros(batch_shape, kind))

    def project(params: Params, xs: Array) -> Coefficients:
        compute = compute_dtype(dtype, xs, *params.values())
        xs, params = xs.astype(compute), wide(params, compute)
        made = gates(params, xs)
        a, b = (None, made) if decay is not None else made
        return Coefficients(a, b, None if first is None else first(params, xs), xs)

    def output(params: Params, h: Array, x: Array) -> Array:
        y = h if readout is None else readout(params, h, x)
        return y.astype(x.dtype)

    def step(params: Params, carry: Carry, z: Coefficients) -> tuple[Carry, Array]:
        params = wide(params, z.x.dtype)
        b = z.b if first is None else _begin(carry.begun, z)
        h = (z.a if decay is None else align(decay(params), b)) * _state(carry) + b
        ones = vary(jnp.ones_like(h.sum(-1)), varying(h))  # explicit mode cannot index split features
        return _carry(carry, h, ones), output(params, h, z.x)

    def scan(
        params: Params,
        carry: Carry,
        xs: Array,
        flow: Flow,
        *,
        method: str,
        remat: Any,
        unroll: int | None,
    ) -> tuple[Carry, Array]:
        del unroll  # a body of one multiplication and one addition gains nothing from it

        def run(params: Params, carry: Carry, xs: Array, flow: Flow) -> tuple[Carry, Array]:
            z = project(params, xs)
            params = wide(params, z.x.dtype)
            a, b, begun = z.a, z.b, None
            if xs.shape[0] == 0:
                return carry, output(params, b, z.x)
            if decay is not None:
                a = decay(params).reshape((1,) * (b.ndim - 1) + (-1,))
            states = partial(_states, flow=flow, method=method)
            fresh = flow.fresh
            if first is not None:
                ones = jnp.ones_like(b.sum(-1))
                resting = fresh and fresh.begun
                start, begun = states(jnp.zeros_like(ones), ones, carry.begun, resting)
                b = _begin(_entering(begun, start, flow.resets, resting), z)
                begun = begun[-1]
            _, h = states(a, b, _state(carry), fresh and _state(fresh))
            return _carry(carry, h[-1], begun), silence(flow.valid, output(params, h, z.x))

        # Complex states count twice, because their parts are separate arrays, and so do those with `first`, because it
        # is computed at every step.
        step_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(carry))
        step_bytes *= 2 if complex_state or first is not None else 1
        return in_segments(run, params, carry, xs, flow, step_bytes=step_bytes, method=method, remat=remat)

    def learned(carry: Carry) -> tuple[Carry, tuple[str, ...]]:
        return carry, tuple(field for field in carry._fields if field != "begun")  # it is a flag

    methods, kernels = ("scan", "associative", "chunked"), ("kernel",)
    how = {"learned": learned, "kernels": kernels, "splits": True}
    return Cell(init, init_carry, project, step, scan, "linear_diagonal", methods, **how)


def gate_inputs(params: Params, xs: Array) -> tuple[Array, ...]:
    """Returns `xs kernel[:, g] + bias[g]` for each gate, in float32 at least; `bias` may be absent."""
    kernel, bias = params["kernel"], params.get("bias")
    zs = (product(xs, kernel[:, g], xs.dtype) for g in range(kernel.shape[1]))
    return tuple(z if bias is None else z + align(bias[g], z) for g, z in enumerate(zs))


def complex_times(factor: Array, x: Array) -> Array:
    """Returns the complex `factor`, of the last axes of `x`, times the real `x`."""
    factor = align(factor, x)
    return lax.complex(factor.real * x, factor.imag * x)


def zero_order_hold(real: Array, imag: Array, dt: Array) -> tuple[Array, Array]:
    """Returns `exp(Λ Δ)` and `(exp(Λ Δ) − 1) / Λ`: a step of `h′ = Λ h + u` under an input `u` constant for `dt`.

    `Λ` has the parts `real`, below 0, and `imag`.
    """
    x, y = real * dt, imag * dt
    growth, turn = jnp.exp(x) * jnp.cos(y), jnp.exp(x) * jnp.sin(y)
    # This is exp(x + iy) − 1, which cancels for short steps if computed as a difference.
    gained = lax.complex(jnp.expm1(x) * jnp.cos(y) - 2 * jnp.sin(y / 2) ** 2, turn)
    return lax.complex(growth, turn), gained / lax.complex(real, imag)


def _states(a: Any, b: Array, start: Array, fresh: Any, *, flow: Flow, method: str) -> tuple[Array, Array]:
    """Returns the state before these steps and all states of them, if `start` is the one before the whole sequence.

    An invalid step is `1 h + 0`, and a reset adds `a fresh`, since the scan restarts at zero.
    """
    if flow.valid is not None:
        a = select(flow.valid, jnp.broadcast_to(a, b.shape), jnp.ones_like(b))
        b = silence(flow.valid, b)
    if flow.resets is not None:
        b = b + silence(flow.resets, a * align(fresh, b))
    run = partial(affine_scan, method=method)
    if flow.split is not None:
        return affine(run, flow.split, a.astype(b.dtype), b, start, flow.resets)
    return start, run(a.astype(b.dtype), b, start, flow.resets)


def _begin(begun: Array, z: Coefficients) -> Array:
    """Returns the additive term: `z.b` once the sequence has begun, `z.first` at its first step."""
    return z.b + (1 - begun)[..., None] * (z.first - z.b)


def _entering(states: Array, start: Array, resets: Array | None, fresh: Any) -> Array:
    """Returns the state before each step, from those after each."""
    entering = jnp.concatenate([start[None], states[:-1]])
    return entering if resets is None else jnp.where(resets, fresh, entering)


def _state(carry: Carry) -> Array:
    return lax.complex(carry.real, carry.imag) if isinstance(carry, ComplexCarry) else carry.h


def _carry(like: Carry, h: Array, begun: Any) -> Carry:
    if isinstance(like, ComplexCarry):
        return ComplexCarry(h.real, h.imag)
    return HiddenCarry(h) if isinstance(like, HiddenCarry) else BegunCarry(h, begun)
