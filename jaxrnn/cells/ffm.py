"""Defines fast and forgetful memory, a grid of traces that fade at rates of their own and turn at frequencies.

Parameters: `kernel [D, 2, M]`, `bias [2, M]`, of the value and its gate; `output_kernel [D, 2, H]`, `output_bias [2,
H]`, of the output's gate and the skip connection; `alpha [M]`, `omega [C]`, `readout [M * C, 2, H]` and `readout_bias
[H]`.
"""

import math
from typing import Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.cell_options import LinearOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.linear import gate_inputs, linear_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

FASTEST = 0.67  # the greatest |α| at first, in the authors' code: a trace halves in a step
FORGOTTEN = 0.01  # what is left of the slowest trace after `max_period` steps
EPSILON = 1e-5  # is added to the variance by which `LN` divides


@checked
def ffm(
    features: int, *, traces: int = 32, contexts: int = 4, max_period: float = 1024.0, **options: Unpack[LinearOptions]
) -> Cell:
    """Makes a fast and forgetful memory: each trace fades at its rate, and each context turns at its frequency.

    `Sₜ = (exp(−|α|) exp(iω)ᵀ) ⊙ Sₜ₋₁ + x̃ₜ 1ᵀ` with `x̃ₜ = (W₁ xₜ + b₁) ⊙ σ(W₂ xₜ + b₂)`, a complex number for every
    trace and context; `zₜ = W₃ [Re Sₜ; Im Sₜ] + b₃` and `yₜ = LN(zₜ) ⊙ gₜ + (W₅ xₜ + b₅) ⊙ (1 − gₜ)` with
    `gₜ = σ(W₄ xₜ + b₄)` (Morad et al. 2023, "Reinforcement learning with fast and forgetful memory"). `LN` subtracts
    the mean of the features and divides by their standard deviation, without parameters of its own. Some code
    normalises `zₜ ⊙ gₜ`; here, as in the paper, the gate comes after. At first `|α|` is spaced evenly from
    `log(100) / max_period`, at which a hundredth is left after `max_period` steps, to 0.67, and the period `2π / ω`
    from 1 to `max_period`.

    Args:
      features: H, the width of the output.
      traces: M, the number of rates; each gets a part of the input of its own.
      contexts: C, the number of frequencies at which each trace is kept.
      max_period: the longest period at first, in steps; more than 1.
      **options: see `LinearOptions`; `kernel_init` draws `W₁` to `W₅`, and `bias_init` the biases of each pair.

    Returns:
      A `Cell` with carry `ComplexCarry(real, imag)`, both `[*batch, M * C]`.

    Raises:
      ValueError: `features`, `traces` or `contexts` is not a positive int; `max_period` is not above 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.ffm(8, traces=6, contexts=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.real.shape
      ((5, 2, 8), (2, 12))
    """
    if not max_period > 1:
        raise ValueError(f"ffm: max_period is {max_period}, expected more than 1 step")
    states = traces * contexts
    kernel_init, bias_init, param_dtype = options["kernel_init"], options["bias_init"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        wide = accumulator(param_dtype)
        k_kernel, k_output, k_readout, *k_biases = jax.random.split(key, 6)
        params = {
            "kernel": initializers.per_gate(kernel_init, k_kernel, in_features, 2, traces, wide),
            "output_kernel": initializers.per_gate(kernel_init, k_output, in_features, 2, features, wide),
            "readout": kernel_init(k_readout, (2 * states, features), wide).reshape(states, 2, features),
            "alpha": jnp.linspace(-math.log(FORGOTTEN) / max_period, FASTEST, traces, dtype=wide),
            "omega": 2 * math.pi / jnp.linspace(1, max_period, contexts, dtype=wide),
        }
        if options["use_bias"]:
            shapes = (("bias", (2, traces)), ("output_bias", (2, features)), ("readout_bias", (features,)))
            params |= {name: bias_init(k, shape, wide) for k, (name, shape) in zip(k_biases, shapes, strict=True)}
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def decay(params: Params) -> Array:
        left, omega = jnp.exp(-jnp.abs(params["alpha"])), params["omega"]
        return lax.complex(jnp.outer(left, jnp.cos(omega)), jnp.outer(left, jnp.sin(omega))).reshape(-1)

    def gates(params: Params, xs: Array) -> Array:
        value, gate = gate_inputs(params, xs)
        of_traces = (value * sigmoid(gate))[..., None]
        # Explicit mode does not know how to lay out what `repeat` returns.
        entered = jnp.broadcast_to(of_traces, (*value.shape, contexts)).reshape(*value.shape[:-1], states)
        return lax.complex(entered, jnp.zeros_like(entered))

    def readout(params: Params, h: Array, xs: Array) -> Array:
        W, outputs = params["readout"], {"kernel": params["output_kernel"]}
        z = product(h.real, W[:, 0], xs.dtype) + product(h.imag, W[:, 1], xs.dtype)
        if options["use_bias"]:
            z, outputs["bias"] = z + align(params["readout_bias"], z), params["output_bias"]
        gate, skip = gate_inputs(outputs, xs)
        z = z - z.mean(-1, keepdims=True)
        z = z * lax.rsqrt((z**2).mean(-1, keepdims=True) + EPSILON)
        return z * sigmoid(gate) + skip * sigmoid(-gate)

    return linear_cell(gates, init, states, decay=decay, readout=readout, complex_state=True, dtype=options["dtype"])
