"""Defines independently recurrent networks: a feature sees its own past alone. They have one gate, `h`."""

from typing import Unpack

import jax

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
@defaults(recurrent_kernel_init=jax.nn.initializers.uniform(1.0))
def indrnn(features: int, *, activation: Activation = jax.nn.relu, **options: Unpack[CellOptions]) -> Cell:
    """Makes an independently recurrent cell, `hₜ = max(0, W xₜ + u ⊙ hₜ₋₁ + b)`; the output is `hₜ`.

    Layers on top mix the features (Li et al. 2018, "Independently recurrent neural network (IndRNN): building a longer
    and deeper RNN").

    Args:
      features: H, the width of the state.
      activation: the elementwise nonlinearity.
      **options: see `CellOptions`; W is `kernel [D, 1, H]`, b is `bias [1, H]`, and u, `recurrent_kernel [1, H]`, is
        uniform between 0 and 1. A feature keeps all of its past at 1 and none at 0; for the last layer of a network
        with long dependencies the paper draws u near 1.

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
        dtype = options["param_dtype"]
        params = {
            "kernel": initializers.per_gate(options["kernel_init"], k_kernel, in_features, 1, features, dtype),
            "recurrent_kernel": options["recurrent_kernel_init"](k_recurrent, (1, features), dtype),
        }
        return params | ({"bias": options["bias_init"](k_bias, (1, features), dtype)} if options["use_bias"] else {})

    known = {"h": activation}
    cell = pointwise_cell(pointwise, features, HiddenCarry, gates=("h",), activations=known, **options)
    return cell._replace(init=init, structure="diagonal")
