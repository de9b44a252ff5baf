"""Defines Elman's simple recurrent network, and the one that starts from the identity. Both have one gate, `h`."""

from typing import Unpack

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Carry, Cell, Params


@checked
def elman(features: int, *, activation: Activation = jnp.tanh, **options: Unpack[CellOptions]) -> Cell:
    """Makes an Elman cell, `hₜ = tanh(W_hh hₜ₋₁ + W_xh xₜ + b_h)`; the output is `hₜ`.

    The readout `ŷₜ = softmax(W_hy hₜ + b_y)` is a layer, `dense(features, activation=jax.nn.softmax)` (Elman 1990,
    "Finding structure in time").

    Args:
      features: H, the width of the state.
      activation: the elementwise nonlinearity.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]` and
        `bias [1, H]`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.elman(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """

    def pointwise(params: Params, carry: Carry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params, carry  # the state enters through the product alone
        h = activation(gates[0])
        return HiddenCarry(h), h

    return pointwise_cell(pointwise, features, HiddenCarry, gates=("h",), activations={"h": activation}, **options)


@checked
@defaults(kernel_init=jax.nn.initializers.normal(1e-3), recurrent_kernel_init=initializers.identity())
def irnn(features: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes an Elman cell `hₜ = max(0, U hₜ₋₁ + W xₜ + b)` that at first sums its inputs, since U is the identity.

    It is an `elman` cell with other defaults (Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks
    of rectified linear units").

    Args:
      features: H, the width of the state.
      **options: see `CellOptions`; W, `kernel [D, 1, H]`, is drawn from `N(0, 0.001²)`, and U,
        `recurrent_kernel [H, 1, H]`, by `initializers.identity()`. For short dependencies the paper has
        `recurrent_kernel_init=initializers.identity(0.01)`.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.irnn(2)
      >>> params = cell.init(jax.random.key(0), 3) | {"kernel": jnp.ones((3, 1, 2))}
      >>> carry, ys = jaxrnn.unroll(cell, params, jnp.ones((4, 3)))
      >>> ys[:, 0].tolist()
      [3.0, 6.0, 9.0, 12.0]
    """
    return elman(features, activation=jax.nn.relu, **options)
