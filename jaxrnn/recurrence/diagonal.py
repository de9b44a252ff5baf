"""`diagonal_cell`: a cell from the coefficients of `hₜ = aₜ ⊙ hₜ₋₁ + bₜ`; the engine owns the scan and its gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.carries import ComplexCarry, HiddenCarry
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.linear_scan import affine_scan
from jaxrnn.recurrence.loop import select, silence
from jaxrnn.types import Array, Carry, Cell, Flow, Params


class Coefficients(NamedTuple):
    """A projected input.

    Attributes:
      a: what multiplies the state; None where it does not depend on the input.
      b: what is added to it.
      x: the input, in the dtype of the computation.
    """

    a: Any
    b: Array
    x: Array


def diagonal_cell(
    gates: Callable[[Params, Array], Any],
    init: Callable[..., Params],
    features: int,
    *,
    decay: Callable[[Params], Array] | None = None,
    readout: Callable[[Params, Array, Array], Array] | None = None,
    complex_state: bool = False,
    dtype: Any = None,
) -> Cell:
    """Makes a cell whose state obeys `hₜ = aₜ ⊙ hₜ₋₁ + bₜ`, with `aₜ` and `bₜ` from the input alone.

    What it is given of parameters is in float32 at least, the inputs are in the dtype of the computation.

    Args:
      gates: `(params, xs [..., D]) -> (a, b)`, both `[..., N]`, over any leading axes.
      init: `(key, in_features) -> params`, real arrays.
      features: N, the width of the state.
      decay: `params -> a [N]`, for a multiplier that does not depend on the input; `gates` returns `b` alone then.
      readout: `(params, h [..., N], xs) -> y`, the output; `h` itself if None.
      complex_state: whether `a` and `b` are complex.
      dtype: of the computation; what inputs and parameters promote to if None. States are never in half precision.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with methods `"scan"`, `"associative"` and `"chunked"`. Its carry is
      `HiddenCarry(h)`, or `ComplexCarry(real, imag)` for a complex state, and starts at zero.

    Example:
      A leaky integrator, `hₜ = σ(λ) ⊙ hₜ₋₁ + W xₜ`, whose leak is learned:

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def init(key, in_features):
      ...     return {"kernel": jax.random.normal(key, (in_features, 8)), "leak": jnp.ones(8)}
      >>> def gates(params, xs):
      ...     return xs @ params["kernel"]
      >>> cell = jaxrnn.diagonal_cell(gates, init, 8, decay=lambda params: jax.nn.sigmoid(params["leak"]))
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def wide(params: Params, compute: Any) -> Params:
        return {name: p.astype(accumulator(compute)) for name, p in params.items()}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kind, shape = accumulator(compute_dtype(dtype, *params.values())), (*batch_shape, features)
        if complex_state:
            return ComplexCarry(jnp.zeros(shape, kind), jnp.zeros(shape, kind))
        return HiddenCarry(jnp.zeros(shape, kind))

    def project(params: Params, xs: Array) -> Coefficients:
        compute = compute_dtype(dtype, xs, *params.values())
        xs = xs.astype(compute)
        made = gates(wide(params, compute), xs)
        a, b = (None, made) if decay is not None else made
        return Coefficients(a, b, xs)

    def output(params: Params, h: Array, x: Array) -> Array:
        y = h if readout is None else readout(params, h, x)
        return y.astype(x.dtype)

    def step(params: Params, carry: Carry, z: Coefficients) -> tuple[Carry, Array]:
        params = wide(params, z.x.dtype)
        h = (z.a if decay is None else decay(params)) * _state(carry) + z.b
        return _carry(h), output(params, h, z.x)

    def scan(
        params: Params, carry: Carry, xs: Array, flow: Flow, *, method: str, reverse: bool, remat: Any, unroll: int
    ) -> tuple[Carry, Array]:
        del unroll  # a body of one multiplication and one addition gains nothing from it

        def run(params: Params, carry: Carry, xs: Array) -> tuple[Carry, Array]:
            a, b, x = project(params, xs)
            params = wide(params, x.dtype)
            if decay is not None:
                a = decay(params).reshape((1,) * (b.ndim - 1) + (-1,))
            h0 = _state(carry)
            a, b = _under(flow, a, b)
            h = affine_scan(a.astype(b.dtype), b, h0, flow.resets, reverse=reverse, method=method)
            last = h[0 if reverse else -1] if len(h) else h0
            return _carry(last), silence(flow.valid, output(params, h, x))

        if remat is not None:  # states, too, are made again: that costs less than the coefficients
            run = jax.checkpoint(run)
        return run(params, carry, xs)

    methods = ("scan", "associative", "chunked")
    return Cell(init, init_carry, project, step, scan, "linear_diagonal", methods)


def gate_inputs(params: Params, xs: Array) -> tuple[Array, ...]:
    """`xs kernel[:, g] + bias[g]` for each gate, in float32 at least; `bias` may be absent."""
    kernel, bias = params["kernel"], params.get("bias")
    zs = (product(xs, kernel[:, g], xs.dtype) for g in range(kernel.shape[1]))
    return tuple(z if bias is None else z + bias[g] for g, z in enumerate(zs))


def _under(flow: Flow, a: Any, b: Array) -> tuple[Array, Array]:
    """The coefficients under masks and resets: an invalid step is `1 h + 0`, a reset adds what it starts from."""
    if flow.valid is not None:
        a = select(flow.valid, jnp.broadcast_to(a, b.shape), jnp.ones_like(b))
        b = silence(flow.valid, b)
    if flow.resets is not None:
        b = b + silence(flow.resets, a * _state(flow.fresh))
    return a, b


def _state(carry: Carry) -> Array:
    return carry.h if isinstance(carry, HiddenCarry) else lax.complex(carry.real, carry.imag)


def _carry(h: Array) -> Carry:
    return ComplexCarry(h.real, h.imag) if jnp.iscomplexobj(h) else HiddenCarry(h)
