"""Defines the quasi-recurrent network. Gate order: `z f o i` (candidate, forget, output, input), if present.

`kernel[n]`, `[D, G, H]`, maps an input to the gates `n` steps later.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Unpack, cast

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, serializable
from jaxrnn.cell_options import LinearOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence import delayed
from jaxrnn.recurrence.linear import linear_cell
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Activation, Array, Cell, Flow, Params


@serializable
class QRNNCarry(NamedTuple):
    """`c [*batch, H]`, the state, and `pending [*batch, N − 1, G * H]`, the sums of past inputs for the next gates.

    N is the `kernel_size`.
    """

    c: Array
    pending: Array


@checked
def qrnn(
    features: int,
    *,
    kernel_size: int = 2,
    pooling: Literal["f", "fo", "ifo"] = "fo",
    activation: Activation = jnp.tanh,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a quasi-recurrent network: gates from a convolution over time, then pooling, both parallel over time.

    `zₜ = tanh(Σₙ W_zⁿ xₜ₋ₙ + b_z)`, `fₜ, oₜ, iₜ = σ(Σₙ Wⁿ xₜ₋ₙ + b)`, each with its own weights, with `0 ≤ n < N` and
    zeros before the beginning; `cₜ = fₜ ⊙ cₜ₋₁ + (1 − fₜ) ⊙ zₜ`, and the output is `oₜ ⊙ cₜ` with pooling `"fo"`, `cₜ`
    with `"f"`; `"ifo"` has `iₜ` in place of `1 − fₜ` (Bradbury et al. 2017, "Quasi-recurrent neural networks"). The
    convolution is over the last valid inputs of the sequence: it skips invalid steps, and a reset begins with zeros.

    Args:
      features: H, the width of the state.
      kernel_size: N, the number of inputs that the gates see, including the current one.
      pooling: the gates after `z`.
      activation: the candidate's nonlinearity.
      **options: see `LinearOptions`; the parameters are `kernel [N, D, G, H]`, drawn per gate as a matrix
        `(N * D, H)`, and `bias [G, H]`.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `QRNNCarry(c, pending)`.

    Raises:
      ValueError: `features` or `kernel_size` is not a positive int; unknown `pooling`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.qrnn(8, kernel_size=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.pending.shape
      ((5, 2, 8), (2, 2, 24))
    """
    count, dtype, use_bias = 1 + len(pooling), options["dtype"], options["use_bias"]

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        shape, param_dtype = (count, features), options["param_dtype"]
        draw = partial(initializers.per_gate, options["kernel_init"])
        kernel = draw(k_kernel, kernel_size * in_features, *shape, param_dtype)
        params = {"kernel": kernel.reshape(kernel_size, in_features, count, features)}
        return params | ({"bias": options["bias_init"](k_bias, shape, param_dtype)} if use_bias else {})

    def pooled(params: Params, sums: Array) -> tuple[Array, Array]:
        z, f, *rest = jnp.split(sums, count, axis=-1)
        return sigmoid(f), (sigmoid(rest[1]) if pooling == "ifo" else sigmoid(-f)) * activation(z)

    def opened(params: Params, c: Array, sums: Array) -> Array:
        return c if pooling == "f" else sigmoid(jnp.split(sums, count, axis=-1)[2]) * c

    pool = linear_cell(pooled, init, features, readout=opened)  # it takes gates as inputs, and has no parameters
    pool_scan = cast(Callable[..., tuple[HiddenCarry, Array]], pool.scan)

    def biased(params: Params, sums: Array) -> Array:
        return sums + align(params["bias"].reshape(-1).astype(sums.dtype), sums) if use_bias else sums

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> QRNNCarry:
        wide = accumulator(compute_dtype(dtype, *params.values()))
        return QRNNCarry(
            zeros((*batch_shape, features), wide), zeros((*batch_shape, kernel_size - 1, count * features), wide)
        )

    def project(params: Params, xs: Array) -> Array:
        compute, kernel = compute_dtype(dtype, xs, *params.values()), params["kernel"]
        parts = product(xs, jnp.moveaxis(kernel, 0, 1).reshape(kernel.shape[1], -1), compute)
        return parts.reshape(*xs.shape[:-1], kernel_size, count * features).astype(compute)

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

        step_bytes = carry.c.size * count * kernel_size * carry.c.dtype.itemsize
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
