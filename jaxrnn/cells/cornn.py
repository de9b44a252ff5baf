"""A network of coupled, driven and damped oscillators. Gate order: one gate, the force on each oscillator."""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.types import Array, Cell, Params


@serializable
class CoRNNCarry(NamedTuple):
    """`h [*batch, H]`, the positions and the output, and `v [*batch, H]`, the velocities."""

    h: Array
    v: Array


@checked
def cornn(
    features: int,
    *,
    dt: float = 0.042,
    gamma: float = 2.7,
    epsilon: float = 4.7,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.lecun_normal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """Oscillators that drive one another: steps of `h″ = tanh(U h + V h′ + W x + b) − γ h − ε h′`.

    `vₜ = vₜ₋₁ + Δt (tanh(U hₜ₋₁ + V vₜ₋₁ + W xₜ + b) − γ hₜ₋₁ − ε vₜ₋₁)`, `hₜ = hₜ₋₁ + Δt vₜ`, and the output is `hₜ`
    (Rusch & Mishra 2021, "Coupled oscillatory recurrent neural network (coRNN)", with its damping taken explicitly). A
    step has two products, so it runs in the plain loop.

    Args:
      features: H, the number of oscillators.
      dt: Δt > 0, the size of a step. This and the next two decide over what time the network remembers; the defaults
        are the paper's for images of 784 pixels, read one by one.
      gamma: γ > 0, the stiffness of each oscillator.
      epsilon: ε > 0, its damping.
      kernel_init: draws W, `kernel [D, 1, H]`: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws U and V, `recurrent_kernel [H, 1, H]` and `velocity_kernel [H, 1, H]`, apart.
      use_bias: whether there is one.
      bias_init: draws `bias [1, H]`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `CoRNNCarry(h, v)`.

    Raises:
      ValueError: `features` is not a positive int; `dt`, `gamma` or `epsilon` is not positive; with them an oscillator
        that is left alone would not come to rest, since `γ Δt² + 2 ε Δt` is 4 or more.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.cornn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.v.shape
      ((5, 2, 8), (2, 8))
    """
    for name, value in (("dt", dt), ("gamma", gamma), ("epsilon", epsilon)):
        if not value > 0:
            raise ValueError(f"cornn: {name} is {value!r}, expected a positive number")
    if not (reach := gamma * dt**2 + 2 * epsilon * dt) < 4:
        raise ValueError(f"cornn: γ Δt² + 2 ε Δt is {reach:g}, expected less than 4, or each step overshoots; lower dt")

    def step(params: Params, carry: CoRNNCarry, zs: tuple[Array, ...]) -> tuple[CoRNNCarry, Array]:
        dot, h, v = partial(product, dtype=zs[0].dtype), carry.h, carry.v
        coupling = dot(h, params["recurrent_kernel"][:, 0]) + dot(v, params["velocity_kernel"][:, 0])
        force = jnp.tanh(zs[0].astype(h.dtype) + coupling)
        v = v + dt * (force - gamma * h - epsilon * v)
        h = h + dt * v
        return CoRNNCarry(h, v), h.astype(zs[0].dtype)

    def per_gate(key: Array, shape: tuple[int, int, int], dtype: Any) -> Array:
        return initializers.per_gate(recurrent_kernel_init, key, *shape, dtype)

    drawn = partial(
        initializers.dense_params,
        features=features,
        gates=1,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=bias_init if use_bias else None,
        param_dtype=param_dtype,
    )
    init = initializers.extended(drawn, {"velocity_kernel": (per_gate, (features, 1, features))}, param_dtype)
    cell = step_cell(step, init, CoRNNCarry, dtype=dtype)
    return cell._replace(cast=cast("recurrent_kernel", "velocity_kernel"))
