"""`weight_norm` makes the length of each column of a kernel a parameter."""

import jax.numpy as jnp

from jaxrnn import trees
from jaxrnn.options import checked
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Array, Cell, Params

KERNELS = ("kernel", "recurrent_kernel")


@checked
def weight_norm(cell: Cell) -> Cell:
    """Reparametrizes each column of the kernels by its direction and length, `W = g v / ‖v‖`.

    A column has the weights of one feature of one gate (Salimans & Kingma 2016, "Weight normalization"). A run computes
    the kernels once, before the loop.

    Args:
      cell: a cell with parameters `kernel [D, G, H]` and `recurrent_kernel [H, G, H]`.

    Returns:
      A `Cell` whose `kernel` and `recurrent_kernel` are the directions `v`, and whose `kernel_scale` and
      `recurrent_kernel_scale`, `[G, H]`, are the lengths `g`. Its initial kernels are those of `cell`.

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
        """Returns the axes of a column: all before the gates', except the heads' where there are heads."""
        heads = kernel.ndim == 4 and cell.num_feature_axes == 1
        return (1,) if heads else tuple(range(kernel.ndim - 2))

    def length(kernel: Array) -> Array:
        squared = jnp.sum(kernel**2, inputs(kernel), keepdims=True)
        return jnp.sqrt(jnp.where(squared == 0, 1, squared))  # a column of zeros has no direction, and stays zero

    return reparametrized(cell, init, transform)
