"""`weight_norm`: the length of each column of a kernel is a parameter of its own."""

import jax.numpy as jnp

from jaxrnn import trees
from jaxrnn.options import checked
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Array, Cell, Params

KERNELS = ("kernel", "recurrent_kernel")


@checked
def weight_norm(cell: Cell) -> Cell:
    """`W = g v / ‖v‖` for each column of the kernels: direction and length are apart.

    A column holds the weights that lead to one feature of one gate (Salimans & Kingma 2016, "Weight normalization").
    The kernels are made once a run, before the loop.

    Args:
      cell: with parameters `kernel [D, G, H]` and `recurrent_kernel [H, G, H]`.

    Returns:
      A `Cell` whose `kernel` and `recurrent_kernel` are the directions `v`, with the lengths `g` beside them:
      `kernel_scale` and `recurrent_kernel_scale`, `[G, H]`. It starts as `cell` does.

    Raises:
      ValueError: `cell` has no such kernels.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.weight_norm(jaxrnn.lstm(8))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params["recurrent_kernel_scale"].shape
      (4, 8)
    """
    for name in KERNELS:
        trees.check_parameter("weight_norm", cell, name)

    def init(key: Array, in_features: int) -> Params:
        params = cell.init(key, in_features)
        return params | {f"{name}_scale": jnp.squeeze(length(params[name]), inputs(params[name])) for name in KERNELS}

    def transform(params: Params) -> Params:
        rest = dict(params)
        for name in KERNELS:
            g = rest.pop(f"{name}_scale")
            rest[name] = rest[name] * (jnp.expand_dims(g, inputs(rest[name])) / length(rest[name]))
        return rest

    def inputs(kernel: Array) -> tuple[int, ...]:
        """The axes that a column has entries along: all before the gates', but the heads' where there are heads."""
        heads = kernel.ndim == 4 and cell.num_feature_axes == 1
        return (1,) if heads else tuple(range(kernel.ndim - 2))

    def length(kernel: Array) -> Array:
        squared = jnp.sum(kernel**2, inputs(kernel), keepdims=True)
        return jnp.sqrt(jnp.where(squared == 0, 1, squared))  # a column of zeros has no direction, and stays

    return reparametrized(cell, init, transform)
