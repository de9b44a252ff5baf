"""Defines networks of driven oscillators: coupled and damped, or independent. Their one gate is the force on each."""

from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, pointwise_cell, step_cell
from jaxrnn.types import Array, Cell, Params


@serializable
class CoRNNCarry(NamedTuple):
    """`h [*batch, H]`, the positions and the output, and `v [*batch, H]`, the velocities."""

    h: Array
    v: Array


@checked
@defaults(recurrent_kernel_init=initializers.lecun_normal)
def cornn(
    features: int,
    *,
    dt: float = 0.042,
    stiffness: float = 2.7,
    damping: float = 4.7,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a cell of oscillators that drive one another, `h″ = tanh(U h + V h′ + W x + b) − γ h − ε h′`.

    `vₜ = vₜ₋₁ + Δt (tanh(U hₜ₋₁ + V vₜ₋₁ + W xₜ + b) − γ hₜ₋₁ − ε vₜ₋₁)`, `hₜ = hₜ₋₁ + Δt vₜ`, and the output is `hₜ`
    (Rusch & Mishra 2021, "Coupled oscillatory recurrent neural network (coRNN)", with explicit damping). A step has two
    products, so it runs in the plain loop.

    Args:
      features: H, the number of oscillators.
      dt: Δt > 0, the size of a step. With the next two it decides how long the state lasts; the defaults are the
        paper's for images of 784 pixels, one per step.
      stiffness: γ > 0, the stiffness of each oscillator.
      damping: ε > 0, the damping of each oscillator.
      **options: see `CellOptions`; W is `kernel [D, 1, H]`, b is `bias [1, H]`, and `recurrent_kernel_init`, here
        `initializers.lecun_normal` by default, draws both U, `recurrent_kernel [H, 1, H]`, and V,
        `velocity_kernel [H, 1, H]`.

    Returns:
      A `Cell` with carry `CoRNNCarry(h, v)`.

    Raises:
      ValueError: `features` is not a positive int; `dt`, `stiffness` or `damping` is not positive; `γ Δt² + 2 ε Δt` is
        4 or more, so that a free oscillator would not come to rest.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.cornn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.v.shape
      ((5, 2, 8), (2, 8))
    """
    for name, value in (("dt", dt), ("stiffness", stiffness), ("damping", damping)):
        if not value > 0:
            raise ValueError(f"cornn: {name} is {value!r}, expected a positive number")
    if not (reach := stiffness * dt**2 + 2 * damping * dt) < 4:
        raise ValueError(f"cornn: γ Δt² + 2 ε Δt is {reach:g}, expected less than 4, or each step overshoots; lower dt")

    def step(params: Params, carry: CoRNNCarry, zs: tuple[Array, ...]) -> tuple[CoRNNCarry, Array]:
        dot, h, v = partial(product, dtype=zs[0].dtype), carry.h, carry.v
        coupling = dot(h, params["recurrent_kernel"][:, 0]) + dot(v, params["velocity_kernel"][:, 0])
        force = jnp.tanh(zs[0].astype(h.dtype) + coupling)
        v = v + dt * (force - stiffness * h - damping * v)
        h = h + dt * v
        return CoRNNCarry(h, v), h.astype(zs[0].dtype)

    extra = {"velocity_kernel": (initializers.of_gates(options["recurrent_kernel_init"]), (features, 1, features))}
    cell = step_cell(step, features, CoRNNCarry, gates=("force",), extra=extra, **options)
    return cell._replace(cast=cast("recurrent_kernel", "velocity_kernel"))


@checked
@defaults(
    kernel_init=jax.nn.initializers.variance_scaling(2 / 65, "fan_in", "uniform"),
    recurrent_kernel_init=jax.nn.initializers.uniform(1.0),
)
def unicornn(features: int, *, dt: float = 0.19, stiffness: float = 30.65, **options: Unpack[CellOptions]) -> Cell:
    """Makes a cell of undamped oscillators that do not see one another, each with a time step of its own.

    `zₜ = zₜ₋₁ − Δt σ(c) ⊙ (tanh(w ⊙ yₜ₋₁ + V xₜ + b) + α yₜ₋₁)`, `yₜ = yₜ₋₁ + Δt σ(c) ⊙ zₜ`, and the output is `yₜ`
    (Rusch & Mishra 2021, "UnICORNN: a recurrent model for learning very long time dependencies"). A step keeps
    volumes in the space of positions and velocities, so the state forgets nothing, and gradients do not vanish. Layers
    on top mix the features.

    Args:
      features: H, the number of oscillators.
      dt: Δt > 0, the longest step. With the stiffness it decides how fast the oscillators are; the defaults are the
        paper's for images of 784 permuted pixels, one per step.
      stiffness: α ≥ 0, the stiffness that all oscillators have besides w.
      **options: see `CellOptions`; V is `kernel [D, 1, H]`, b is `bias [1, H]`, and w, `recurrent_kernel [1, H]`, is
        uniform between 0 and 1. c, `dt_logit [H]`, is uniform between −0.1 and 0.1. By default V is uniform with
        variance `2 / (65 D)`, as in the authors' code.

    Returns:
      A `Cell` with carry `CoRNNCarry(h, v)`, where `h` is y and `v` is z.

    Raises:
      ValueError: `features` is not a positive int; `dt` is not positive; `stiffness` is negative; `α Δt²` is 4 or more,
        so that the longest step overshoots.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.unicornn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (1, 8))
    """
    if not dt > 0:
        raise ValueError(f"unicornn: dt is {dt!r}, expected a positive number")
    if not stiffness >= 0:
        raise ValueError(f"unicornn: stiffness is {stiffness!r}, expected a number α ≥ 0")
    if not (reach := stiffness * dt**2) < 4:
        raise ValueError(f"unicornn: α Δt² is {reach:g}, expected less than 4, or each step overshoots; lower dt")

    def pointwise(params: Params, carry: CoRNNCarry, gates: tuple[Array, ...]) -> tuple[CoRNNCarry, Array]:
        step = dt * sigmoid(params["dt_logit"])
        v = carry.v - step * (jnp.tanh(gates[0]) + stiffness * carry.h)
        h = carry.h + step * v
        return CoRNNCarry(h, v), h

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias, k_step = jax.random.split(key, 4)
        dtype = options["param_dtype"]
        params = {
            "kernel": initializers.per_gate(options["kernel_init"], k_kernel, in_features, 1, features, dtype),
            "recurrent_kernel": options["recurrent_kernel_init"](k_recurrent, (1, features), dtype),
            "dt_logit": jax.random.uniform(k_step, (features,), dtype, -0.1, 0.1),
        }
        return params | ({"bias": options["bias_init"](k_bias, (1, features), dtype)} if options["use_bias"] else {})

    cell = pointwise_cell(pointwise, features, CoRNNCarry, gates=("force",), **options)
    return cell._replace(init=init, gates=None)  # a force keeps no share of the state
