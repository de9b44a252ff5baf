"""Independently recurrent networks: a feature sees its own past alone. Gate order: one gate, `h`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params

uniform = jax.nn.initializers.uniform(1.0)


@checked
def indrnn(
    features: int,
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = uniform,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """`hₜ = max(0, W xₜ + u ⊙ hₜ₋₁ + b)`, and the output is `hₜ`; layers on top mix the features.

    Li et al. 2018, "Independently recurrent neural network (IndRNN): building a longer and deeper RNN".

    Args:
      features: H, the width of the state.
      activation: the elementwise nonlinearity.
      kernel_init: draws W, `kernel [D, 1, H]`: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws u, `recurrent_kernel [1, H]`. A feature keeps all of its past at 1 and none at 0; the
        paper draws between, and near 1 for the last layer of a network that has to remember.
      use_bias: whether there is one.
      bias_init: draws `bias [1, H]`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` of structure `"diagonal"` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.indrnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (1, 8))
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        del params, carry  # the state enters through the product alone
        h = activation(gates[0])
        return HiddenCarry(h), h

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
        params = {
            "kernel": initializers.per_gate(kernel_init, k_kernel, in_features, 1, features, param_dtype),
            "recurrent_kernel": recurrent_kernel_init(k_recurrent, (1, features), param_dtype),
        }
        return params | ({"bias": bias_init(k_bias, (1, features), param_dtype)} if use_bias else {})

    return pointwise_cell(pointwise, init, HiddenCarry, gates=("h",), dtype=dtype)._replace(structure="diagonal")
