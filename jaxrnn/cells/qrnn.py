"""The quasi-recurrent network. Gate order: `z f o i` (candidate, forget, output, input), as far as there are.

`kernel[n]`, `[D, G, H]`, is what an input adds to the gates `n` steps after it.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, serializable
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence import delayed
from jaxrnn.recurrence.linear import linear_cell
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Cell, Flow, Params


@serializable
class QRNNCarry(NamedTuple):
    """`c [*batch, H]`, the state, and `pending [*batch, window − 1, G * H]`, what past inputs add to the next gates."""

    c: Array
    pending: Array


@checked
def qrnn(
    features: int,
    *,
    window: int = 2,
    pooling: Literal["f", "fo", "ifo"] = "fo",
    activation: Callable[[Array], Array] = jnp.tanh,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """A quasi-recurrent network: gates from a convolution over the last inputs, then a pooling, parallel over time.

    `zₜ = tanh(Σₙ W_zⁿ xₜ₋ₙ + b_z)`, `fₜ, oₜ, iₜ = σ(Σₙ Wⁿ xₜ₋ₙ + b)`, each its own, with `0 ≤ n < window` and zeros
    before the beginning; `cₜ = fₜ ⊙ cₜ₋₁ + (1 − fₜ) ⊙ zₜ`, and the output is `oₜ ⊙ cₜ` with pooling `"fo"`, `cₜ` with
    `"f"`; `"ifo"` has `iₜ` in place of `1 − fₜ` (Bradbury et al. 2017, "Quasi-recurrent neural networks"). The window
    holds the last valid inputs of the sequence: a mask's holes are not in it, and a reset empties it.

    Args:
      features: H, the width of the state.
      window: how many inputs the gates see, the present one among them.
      pooling: which gates there are.
      activation: the candidate's nonlinearity.
      use_bias: whether there is a bias.
      kernel_init: draws `kernel [window, D, G, H]` gate by gate: `(key, (window * D, H), dtype) -> Array`.
      bias_init: draws `bias [G, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `QRNNCarry(c, pending)`.

    Raises:
      ValueError: `features` or `window` is not a positive int; unknown `pooling`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.qrnn(8, window=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.pending.shape
      ((5, 2, 8), (2, 2, 24))
    """
    count = 1 + len(pooling)

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        kernel = initializers.per_gate(kernel_init, k_kernel, window * in_features, count, features, param_dtype)
        params = {"kernel": kernel.reshape(window, in_features, count, features)}
        return params | ({"bias": bias_init(k_bias, (count, features), param_dtype)} if use_bias else {})

    def pooled(params: Params, sums: Array) -> tuple[Array, Array]:
        z, f, *rest = jnp.split(sums, count, axis=-1)
        return sigmoid(f), (sigmoid(rest[1]) if pooling == "ifo" else sigmoid(-f)) * activation(z)

    def opened(params: Params, c: Array, sums: Array) -> Array:
        return c if pooling == "f" else sigmoid(jnp.split(sums, count, axis=-1)[2]) * c

    pool = linear_cell(pooled, init, features, readout=opened)  # its inputs are the gates; it has no parameters
    pool_scan = cast(Callable[..., tuple[HiddenCarry, Array]], pool.scan)

    def biased(params: Params, sums: Array) -> Array:
        return sums + align(params["bias"].reshape(-1).astype(sums.dtype), sums) if use_bias else sums

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> QRNNCarry:
        wide = accumulator(compute_dtype(dtype, *params.values()))
        return QRNNCarry(
            zeros((*batch_shape, features), wide), zeros((*batch_shape, window - 1, count * features), wide)
        )

    def project(params: Params, xs: Array) -> Array:
        compute, kernel = compute_dtype(dtype, xs, *params.values()), params["kernel"]
        parts = product(xs, jnp.moveaxis(kernel, 0, 1).reshape(kernel.shape[1], -1), compute)
        return parts.reshape(*xs.shape[:-1], window, count * features).astype(compute)

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
            flags = {"valid": flow.valid, "resets": flow.resets, "fresh": fresh and fresh.pending}
            pending, sums = delayed.over_time(carry.pending, parts, **flags)
            own = flow._replace(fresh=fresh and HiddenCarry(fresh.c))
            how = {"method": method, "remat": None, "unroll": unroll}
            state, ys = pool_scan({}, HiddenCarry(carry.c), biased(params, sums), own, **how)
            return QRNNCarry(state.h, pending), ys.astype(parts.dtype)

        step_bytes = carry.c.size * count * window * carry.c.dtype.itemsize
        return in_segments(run, params, carry, xs, flow, step_bytes=step_bytes, method=method, remat=remat)

    return Cell(init, init_carry, project, step, scan, "linear_diagonal", pool.methods)
