"""`convolved_cell` makes a cell whose coefficients of `hₜ = aₜ ⊙ hₜ₋₁ + bₜ` come from a convolution over time."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, QRNNCarry
from jaxrnn.cell_options import LinearOptions
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence import delayed
from jaxrnn.recurrence.linear import linear_cell
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Cell, Flow, Params


def convolved_cell(
    coefficients: Callable[..., tuple[Array, Array]],
    features: int,
    options: LinearOptions,
    *,
    gates: int,
    kernel_size: int,
    readout: Callable[..., Array],
) -> Cell:
    """Makes a cell with the state `cₜ = aₜ ⊙ cₜ₋₁ + bₜ` and the gates `Σₙ Wⁿ xₜ₋ₙ + b`, with `0 ≤ n < N`.

    The convolution is over the last valid inputs of the sequence: it skips invalid steps, and a reset begins with
    zeros.

    Args:
      coefficients: `(*gates) -> (a, b)`, elementwise, each `[..., H]`.
      features: H, the width of the state.
      options: all of `LinearOptions`; the parameters are `kernel [N, D, G, H]`, drawn per gate as a matrix
        `(N * D, H)`, and `bias [G, H]`.
      gates: G, the number of gates.
      kernel_size: N, the number of inputs that the gates see, including the current one.
      readout: `(c, *gates) -> y`, elementwise.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `QRNNCarry(c, pending)`.
    """
    dtype, use_bias = options["dtype"], options["use_bias"]

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        shape, param_dtype = (gates, features), options["param_dtype"]
        draw = partial(initializers.per_gate, options["kernel_init"])
        kernel = draw(k_kernel, kernel_size * in_features, *shape, param_dtype)
        params = {"kernel": kernel.reshape(kernel_size, in_features, gates, features)}
        return params | ({"bias": options["bias_init"](k_bias, shape, param_dtype)} if use_bias else {})

    def pooled(params: Params, sums: Array) -> tuple[Array, Array]:
        return coefficients(*jnp.split(sums, gates, axis=-1))

    def read(params: Params, c: Array, sums: Array) -> Array:
        return readout(c, *jnp.split(sums, gates, axis=-1))

    pool = linear_cell(pooled, init, features, readout=read)  # it takes gates as inputs, and has no parameters
    pool_scan = cast(Callable[..., tuple[HiddenCarry, Array]], pool.scan)

    def biased(params: Params, sums: Array) -> Array:
        return sums + align(params["bias"].reshape(-1).astype(sums.dtype), sums) if use_bias else sums

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> QRNNCarry:
        wide = accumulator(compute_dtype(dtype, *params.values()))
        return QRNNCarry(
            zeros((*batch_shape, features), wide), zeros((*batch_shape, kernel_size - 1, gates * features), wide)
        )

    def project(params: Params, xs: Array) -> Array:
        compute, kernel = compute_dtype(dtype, xs, *params.values()), params["kernel"]
        parts = product(xs, jnp.moveaxis(kernel, 0, 1).reshape(kernel.shape[1], -1), compute)
        return parts.reshape(*xs.shape[:-1], kernel_size, gates * features).astype(compute)

    def step(params: Params, carry: QRNNCarry, z: Array) -> tuple[QRNNCarry, Array]:
        pending, sums = delayed.step(carry.pending, z)
        state, y = pool.step({}, HiddenCarry(carry.c), pool.project({}, biased(params, sums)))
        return QRNNCarry(state.h, pending), y.astype(z.dtype)

    def scan(
        params: Params,
        carry: QRNNCarry,
        xs: Array,
        flow: Flow,
        *,
        method: str,
        remat: Any,
        unroll: int | None,
    ) -> tuple[QRNNCarry, Array]:
        def run(params: Params, carry: QRNNCarry, xs: Array, flow: Flow) -> tuple[QRNNCarry, Array]:
            parts, fresh = project(params, xs), flow.fresh
            start, split = fresh and fresh.pending, flow.split
            pending, sums = delayed.over_time(
                carry.pending, parts, valid=flow.valid, resets=flow.resets, fresh=start, split=split
            )
            own = flow._replace(fresh=fresh and HiddenCarry(fresh.c))
            how = {"method": method, "remat": None, "unroll": unroll}
            state, ys = pool_scan({}, HiddenCarry(carry.c), biased(params, sums), own, **how)
            return QRNNCarry(state.h, pending), ys.astype(parts.dtype)

        step_bytes = carry.c.size * gates * kernel_size * carry.c.dtype.itemsize
        return in_segments(run, params, carry, xs, flow, step_bytes=step_bytes, method=method, remat=remat)

    return Cell(
        init,
        init_carry,
        project,
        step,
        scan,
        "linear_diagonal",
        pool.methods,
        kernels=pool.kernels,
        splits=True,
    )
