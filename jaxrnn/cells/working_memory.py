"""Defines the LSTM with working memory connections. Gate order: `i f g o`; in `cell_kernel`: `i f o`."""

from functools import partial
from typing import Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def wmc_lstm(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM whose gates see a nonlinear projection of the cell state, bounded so that it cannot saturate them.

    `iₜ = σ(W xₜ + U hₜ₋₁ + tanh(V cₜ₋₁) + b)`, `fₜ = σ(W xₜ + U hₜ₋₁ + tanh(V cₜ₋₁) + b)`,
    `gₜ = tanh(W xₜ + U hₜ₋₁ + b)`, `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `oₜ = σ(W xₜ + U hₜ₋₁ + tanh(V cₜ) + b)`, each with its
    own weights, and the output is `hₜ = oₜ ⊙ tanh(cₜ)` (Landi et al. 2021, "Working memory connections for LSTM"). A
    step has products before and after the new cell state, so it runs in the plain loop.

    Args:
      features: H, the width of the state.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      **options: see `CellOptions`; the parameters are `kernel [D, 4, H]`, `recurrent_kernel [H, 4, H]`, `bias [4, H]`
        and V, `cell_kernel [H, 3, H]`, which `recurrent_kernel_init` draws as well.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`.

    Raises:
      ValueError: `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.wmc_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["cell_kernel"].shape
      ((5, 2, 8), (8, 3, 8))
    """

    def step(params: Params, carry: LSTMCarry, zs: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        dot, V = partial(product, dtype=zs[0].dtype), params["cell_kernel"]
        states, memory = dot(carry.h, params["recurrent_kernel"]), jnp.tanh(dot(carry.c, V[:, :2]))
        i, f, g, o = (z.astype(carry.h.dtype) + states[..., k, :] for k, z in enumerate(zs))
        i, f = gate_activation(i + memory[..., 0, :]), gate_activation(f + memory[..., 1, :])
        c = f * carry.c + i * activation(g)
        h = gate_activation(o + jnp.tanh(dot(c, V[:, 2]))) * activation(c)
        return LSTMCarry(c, h), h.astype(zs[0].dtype)

    gates, offsets = ("i", "f", "g", "o"), {"f": forget_bias}
    extra = {"cell_kernel": (initializers.of_gates(options["recurrent_kernel_init"]), (features, 3, features))}
    cell = step_cell(step, features, LSTMCarry, gates=gates, offsets=offsets, extra=extra, **options)
    return cell._replace(cast=cast("recurrent_kernel", "cell_kernel"))
