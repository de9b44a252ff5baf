"""Defines the structurally constrained recurrent network, with hidden units and slow context units beside them."""

from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.shapes import zeros
from jaxrnn.types import Activation, Array, Cell, Params


@serializable
class SCRNCarry(NamedTuple):
    """`h [*batch, H]`, the hidden units, and `s [*batch, C]`, the context units."""

    h: Array
    s: Array


@checked
def scrn(
    features: int,
    *,
    context_features: int | None = None,
    decay: float = 0.95,
    activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an Elman network beside slow context units, which are means of past inputs; the output is `[hₜ, sₜ]`.

    `sₜ = (1 − α) B xₜ + α sₜ₋₁` and `hₜ = σ(A xₜ + R hₜ₋₁ + P sₜ + b)` (Mikolov et al. 2015, "Learning longer memory in
    recurrent neural networks"). The output is H + C wide; a `dense` layer on top makes the paper's `U hₜ + V sₜ` of it.
    `torchrecurrent` returns a nonlinearity of that, which takes the place of `hₜ` in the next step; here, as in the
    paper, the hidden units go on. A step has two products, so it runs in the plain loop.

    Args:
      features: H, the number of hidden units.
      context_features: C, the number of context units; H if None.
      decay: α, with 0 < α < 1, the share of the context that each step keeps.
      activation: σ, the nonlinearity of the hidden units.
      **options: see `CellOptions`. `kernel_init` draws A, `kernel [D, 1, H]`, and B, `input_kernel [D, 1, C]`;
        `recurrent_kernel_init` draws R, `recurrent_kernel [H, 1, H]`, and P, `context_kernel [C, 1, H]`; b is
        `bias [1, H]`.

    Returns:
      A `Cell` with carry `SCRNCarry(h, s)`.

    Raises:
      ValueError: `features` or `context_features` is not a positive int; `decay` is not between 0 and 1.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.scrn(8, context_features=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.s.shape
      ((5, 2, 12), (2, 4))
    """
    if not 0 < decay < 1:
        raise ValueError(f"scrn: decay is {decay!r}, expected a share 0 < α < 1")
    context = features if context_features is None else context_features

    def init(key: Array, in_features: int) -> Params:
        k_hidden, k_input = jax.random.split(key)
        per_gate, dtype = initializers.per_gate, options["param_dtype"]
        input_kernel = per_gate(options["kernel_init"], k_input, in_features, 1, context, dtype)
        return cell.init(k_hidden, in_features) | {"input_kernel": input_kernel}

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> SCRNCarry:
        h = cell.init_carry(params, batch_shape).h
        return SCRNCarry(h, zeros((*batch_shape, context), h.dtype))

    def project(params: Params, xs: Array) -> tuple[Array, Array]:
        (hidden,) = cell.project(params, xs)
        return hidden, product(xs, params["input_kernel"][:, 0], hidden.dtype).astype(hidden.dtype)

    def step(params: Params, carry: SCRNCarry, zs: tuple[Array, Array]) -> tuple[SCRNCarry, Array]:
        dot = partial(product, dtype=zs[0].dtype)
        hidden, new = (z.astype(accumulator(z.dtype)) for z in zs)
        s = (1 - decay) * new + decay * carry.s
        states = dot(carry.h, params["recurrent_kernel"][:, 0]) + dot(s, params["context_kernel"][:, 0])
        h = activation(hidden + states)
        return SCRNCarry(h, s), jnp.concatenate([h, s], axis=-1).astype(zs[0].dtype)

    extra = {"context_kernel": (initializers.of_gates(options["recurrent_kernel_init"]), (context, 1, features))}
    cell = step_cell(step, features, SCRNCarry, gates=("h",), extra=extra, **options)
    once = cast("recurrent_kernel", "context_kernel")
    return cell._replace(init=init, init_carry=init_carry, project=project, cast=once)
