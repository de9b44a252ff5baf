"""Elman's simple recurrent network, and the one that starts from the identity. Gate order: one gate, `h`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.carries import ElmanCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Carry, Cell, Params

small_normal, identity = jax.nn.initializers.normal(1e-3), initializers.identity()


@checked
def elman(
    features: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """`hₜ = tanh(W_hh hₜ₋₁ + W_xh xₜ + b_h)`, and the output is `hₜ` (Elman 1990, "Finding structure in time").

    The readout `ŷₜ = softmax(W_hy hₜ + b_y)` is a layer of its own, `dense(features, activation=jax.nn.softmax)`.

    Args:
      features: H, the width of the state.
      activation: the elementwise nonlinearity.
      kernel_init: draws `kernel [D, 1, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [H, 1, H]` gate by gate.
      use_bias: whether there is one.
      bias_init: draws `bias [1, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `ElmanCarry(h)`.

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

    def pointwise(params: Params, carry: Carry, gates: tuple[Array, ...]) -> tuple[ElmanCarry, Array]:
        del params, carry  # the state enters through the product alone
        h = activation(gates[0])
        return ElmanCarry(h), h

    init = partial(
        initializers.dense_params,
        features=features,
        gates=1,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=bias_init if use_bias else None,
        param_dtype=param_dtype,
    )
    return pointwise_cell(pointwise, init, ElmanCarry, gates=("h",), dtype=dtype)


@checked
def irnn(
    features: int,
    *,
    kernel_init: Initializer = small_normal,
    recurrent_kernel_init: Initializer = identity,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """`hₜ = max(0, U hₜ₋₁ + W xₜ + b)` that begins as a sum of its inputs: U starts at the identity.

    Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units". It is an
    `elman` cell with other defaults.

    Args:
      features: H, the width of the state.
      kernel_init: draws W, `kernel [D, 1, H]`: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws U, `recurrent_kernel [H, 1, H]`; for short memories the paper has
        `initializers.identity(0.01)`.
      use_bias: whether there is one.
      bias_init: draws `bias [1, H]`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `ElmanCarry(h)`.

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
    return elman(
        features,
        activation=jax.nn.relu,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        use_bias=use_bias,
        bias_init=bias_init,
        dtype=dtype,
        param_dtype=param_dtype,
    )
