"""Defines the recurrent highway network. Gate order: `h t` (candidate, transform gate), of each layer in turn."""

from functools import partial
from typing import Any, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def recurrent_highway(
    features: int,
    *,
    depth: int = 4,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    transform_bias: float = -2.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a recurrent highway network, whose step is a highway network of several layers; the output is `hₜ`.

    With `s₀ = hₜ₋₁` and `hₜ = s_L`, layer ℓ computes `sₗ = tₗ ⊙ tanh(Rₗ sₗ₋₁ + bₗ + W xₜ) + (1 − tₗ) ⊙ sₗ₋₁` with
    `tₗ = σ(Rₗ sₗ₋₁ + bₗ + W xₜ)`, each with its own weights; only the first layer sees the input (Zilly et al. 2017,
    "Recurrent highway networks", with the carry gate `1 − tₗ` of all its experiments). A step has a product for each
    layer, so it runs in the plain loop.

    Args:
      features: H, the width of the state.
      depth: L, the number of layers in a step.
      activation: the nonlinearity of the candidates.
      gate_activation: σ, the nonlinearity of the transform gates.
      transform_bias: the number added to the transform gates' initial bias; with a negative one each layer at first
        keeps most of its state. The paper has −2 for words, and −4 for characters.
      **options: see `CellOptions`; the parameters are `kernel [D, 2, H]`, and of the first layer
        `recurrent_kernel [H, 2, H]` and `bias [2, H]`; those of the others are `transition_kernel [H, 2 (L − 1), H]`
        and `transition_bias [2 (L − 1), H]`, drawn as the first layer's.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` or `depth` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.recurrent_highway(8, depth=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["transition_kernel"].shape
      ((5, 2, 8), (8, 4, 8))
    """
    further = 2 * (depth - 1)

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        dot = partial(product, dtype=zs[0].dtype)

        def layer(s: Array, kernel: Array, h: Array | float, t: Array | float) -> Array:
            both = dot(s, kernel)
            t = gate_activation(both[..., 1, :] + t)
            return t * activation(both[..., 0, :] + h) + (1 - t) * s

        s = layer(carry.h, params["recurrent_kernel"], *(z.astype(carry.h.dtype) for z in zs))
        for first in range(0, further, 2):
            biases = params.get("transition_bias")
            h, t = (0.0, 0.0) if biases is None else (align(biases[first + k], s) for k in (0, 1))
            s = layer(s, params["transition_kernel"][:, first : first + 2], h, t)
        return HiddenCarry(s), s.astype(zs[0].dtype)

    def biases(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
        return options["bias_init"](key, shape, dtype).at[1::2].add(transform_bias)

    extra: dict[str, Any] = {}
    if further:
        extra["transition_kernel"] = (
            initializers.of_gates(options["recurrent_kernel_init"]),
            (features, further, features),
        )
        if options["use_bias"]:
            extra["transition_bias"] = (biases, (further, features))
    offsets = {"t": transform_bias}
    cell = step_cell(step, features, HiddenCarry, gates=("h", "t"), offsets=offsets, extra=extra, **options)
    return cell._replace(cast=cast("recurrent_kernel", "transition_kernel"))
