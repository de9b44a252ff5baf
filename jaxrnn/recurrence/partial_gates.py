"""`partial_gates` makes a cell some of whose gates lack the input, the state or a bias."""

import jax.numpy as jnp

from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Array, Cell, Params


def partial_gates(
    cell: Cell,
    gates: int,
    *,
    kernel: int | None = None,
    recurrent_kernel: int | None = None,
    bias: int | None = None,
    passes_input: bool = False,
) -> Cell:
    """Returns a cell whose parameters have entries for their first gates alone; the engine gets zeros for the others.

    Args:
      cell: a cell of `pointwise_cell` or `step_cell`.
      gates: G, the number of its gates.
      kernel: the number of gates that see the input; None: all.
      recurrent_kernel: the number of gates that see the state; None: all.
      bias: the number of gates that have a bias; None: all.
      passes_input: whether the last gate is the input itself where that is H wide, instead of a product with it.
    """
    counts = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
    kept = {name: count for name, count in counts.items() if count is not None}

    def init(key: Array, in_features: int) -> Params:
        params = cell.init(key, in_features)
        square = passes_input and in_features == params["kernel"].shape[-1]
        first = kept | ({"kernel": gates - 1} if square else {})
        return {name: p[..., : first[name], :] if name in first else p for name, p in params.items()}

    def whole(params: Params) -> Params:
        if passes_input and params["kernel"].shape[-2] < gates:
            kernel = params["kernel"]
            identity = jnp.eye(kernel.shape[-1], dtype=kernel.dtype)[:, None]
            params = params | {"kernel": jnp.concatenate([kernel, identity], axis=-2)}
        return {name: _padded(p, gates) if name in kept else p for name, p in params.items()}

    return reparametrized(cell, init, whole)


def _padded(p: Array, gates: int) -> Array:
    """Returns `p [..., g, H]` with zeros up to `gates` on the axis of gates."""
    return jnp.pad(p, [*[(0, 0)] * (p.ndim - 2), (0, gates - p.shape[-2]), (0, 0)])
