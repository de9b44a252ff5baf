"""A recurrent network as a stable differential equation. Gate order: `h`, and `z` where it is gated."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

fan_in_normal = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


@checked
def antisymmetric(
    features: int,
    *,
    gated: bool = False,
    epsilon: float = 0.1,
    gamma: float = 0.01,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = fan_in_normal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Steps of a differential equation that neither forgets nor explodes: its eigenvalues are nearly imaginary.

    `hₜ = hₜ₋₁ + ε tanh(V xₜ + A hₜ₋₁ + b)` with `A = W − Wᵀ − γ I`, and the output is `hₜ`. Gated, the step is
    multiplied by `zₜ = σ(V xₜ + A hₜ₋₁ + b)`, with V and b of its own but the same A (Chang et al. 2019,
    "AntisymmetricRNN: a dynamical system view on recurrent neural networks"). A is made once a run, before the loop.

    Args:
      features: H, the width of the state.
      gated: whether a gate scales each step.
      epsilon: ε > 0, the size of a step.
      gamma: γ ≥ 0, the diffusion, which makes discrete steps stable.
      kernel_init: draws `kernel [D, 1, H]`, gated `[D, 2, H]`, gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws W, `recurrent_kernel [H, 1, H]`; half of its H² numbers decide A.
      use_bias: whether there is one.
      bias_init: draws `bias [1, H]`, gated `[2, H]`, as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; `epsilon` is not positive; `gamma` is negative.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.antisymmetric(8, gated=True)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (8, 1, 8))
    """
    if not epsilon > 0:
        raise ValueError(f"antisymmetric: epsilon is {epsilon!r}, expected a step size ε > 0")
    if not gamma >= 0:
        raise ValueError(f"antisymmetric: gamma is {gamma!r}, expected a diffusion γ ≥ 0")
    gates = ("h", "z") if gated else ("h",)

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params  # all of them are the engine's
        move = jnp.tanh(gates[0]) * sigmoid(gates[1]) if gated else jnp.tanh(gates[0])
        h = carry.h + epsilon * move
        return HiddenCarry(h), h

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
        shape = (len(gates), features)
        params = {
            "kernel": initializers.per_gate(kernel_init, k_kernel, in_features, *shape, param_dtype),
            "recurrent_kernel": initializers.per_gate(
                recurrent_kernel_init, k_recurrent, features, 1, features, param_dtype
            ),
        }
        return params | ({"bias": bias_init(k_bias, shape, param_dtype)} if use_bias else {})

    def transform(params: Params) -> Params:
        """The cell that the engine runs has a recurrent kernel for each gate."""
        W = params["recurrent_kernel"]  # perhaps in blocks, as `heads` makes them
        identity = align(jnp.eye(W.shape[-1], dtype=W.dtype)[:, None], W)
        A = W - jnp.swapaxes(W, -3, -1) - gamma * identity
        return params | {"recurrent_kernel": jnp.repeat(A, len(gates), axis=-2)}

    return reparametrized(pointwise_cell(pointwise, init, HiddenCarry, gates=gates, dtype=dtype), init, transform)
