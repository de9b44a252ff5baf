"""Defines the real-gated linear recurrent unit. Gate order: `r i x` (recurrence, input, value)."""

from typing import Literal, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus

from jaxrnn import checks, initializers
from jaxrnn.cell_options import LinearOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.linear import gate_inputs, linear_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

SHARPNESS = 8.0
STEEPEST = 1000.0  # the largest slope of the square root, as in the paper's implementation


@checked
def rg_lru(
    features: int,
    *,
    eigenvalues: Literal["positive", "signed"] = "positive",
    a_min: float = 0.9,
    a_max: float = 0.999,
    use_value_kernel: bool = True,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a real-gated linear recurrent unit; the output is `hₜ`.

    `hₜ = aₜ ⊙ hₜ₋₁ + √(1 − aₜ²) ⊙ iₜ ⊙ vₜ` with `log aₜ = −8 rₜ softplus(Λ)`, `vₜ = W_x xₜ + b_x` and
    `rₜ, iₜ = σ(W xₜ + b)`, each with its own weights (De et al. 2024, "Griffin: mixing gated linear recurrences with
    local attention for efficient language models"; `vₜ` is the linear layer before the unit there). The first step of a
    sequence adds `iₜ ⊙ vₜ` without the square root. At first `a` at an open gate, `exp(−8 softplus(Λ))`, is uniform
    between `a_min` and `a_max`, as in the paper; its authors' code draws the eighth root `exp(−softplus(Λ))` there
    instead, with a uniform square.

    Args:
      features: H, the width of the state.
      eigenvalues: the range of `a`: `"positive"` is (0, 1), the paper's; `"signed"` gives every other feature `−a`.
      a_min: the least `a` at first, at `rₜ = 1`.
      a_max: the greatest.
      use_value_kernel: whether `vₜ` is a linear layer of the input; without it `vₜ = xₜ`, which has to be H wide, for a
        network with layers of its own before the unit.
      **options: see `LinearOptions`; the parameters are `kernel [D, 3, H]` and `bias [3, H]`, or `[D, 2, H]` and
        `[2, H]` without a value kernel, and `decay [H]`.

    Returns:
      A `Cell` with carry `BegunCarry(h, begun)`.

    Raises:
      ValueError: `features` is not a positive int; unknown `eigenvalues`; not `0 < a_min < a_max < 1`. `init` raises it
        for inputs that are not H wide, without a value kernel.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.rg_lru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    if not 0 < a_min < a_max < 1:
        raise ValueError(f"rg_lru: a_min is {a_min} and a_max {a_max}, expected 0 < a_min < a_max < 1")
    count = 3 if use_value_kernel else 2
    signed = eigenvalues == "signed"

    def init(key: Array, in_features: int) -> Params:
        if not use_value_kernel:
            checks.check_as_wide("rg_lru", in_features, features)
        param_dtype = options["param_dtype"]
        wide = accumulator(param_dtype)
        k_kernel, k_bias, k_decay = jax.random.split(key, 3)
        log_a = jnp.log(jax.random.uniform(k_decay, (features,), wide, a_min, a_max))
        params = {
            "kernel": initializers.per_gate(
                options["kernel_init"], k_kernel, in_features, count, features, param_dtype
            ),
            "decay": jnp.log(jnp.expm1(-log_a / SHARPNESS)).astype(param_dtype),  # its softplus is −log a / 8
        }
        bias_init = options["bias_init"]
        return params | ({"bias": bias_init(k_bias, (count, features), param_dtype)} if options["use_bias"] else {})

    def parts(params: Params, xs: Array) -> tuple[Array, Array]:
        r, i, *v = gate_inputs(params, xs)
        rate = align(softplus(params["decay"]), r)
        return -SHARPNESS * sigmoid(r) * rate, sigmoid(i) * (v[0] if v else xs.astype(r.dtype))

    def gates(params: Params, xs: Array) -> tuple[Array, Array]:
        log_a, value = parts(params, xs)
        a = jnp.exp(log_a)
        if signed:
            a = a * align(1 - 2 * (jnp.arange(features) % 2), a)
        return a, _sqrt(-jnp.expm1(2 * log_a)) * value

    def first(params: Params, xs: Array) -> Array:
        return parts(params, xs)[1]

    return linear_cell(gates, init, features, first=first, dtype=options["dtype"])


@jax.custom_jvp
def _sqrt(x: Array) -> Array:
    """Returns the square root, with a bounded slope: near `a = 1` the true slope is unbounded."""
    return jnp.sqrt(x)


@_sqrt.defjvp
def _sqrt_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return jnp.sqrt(x), dx * jax.lax.rsqrt(jnp.maximum(4 * x, STEEPEST**-2))
