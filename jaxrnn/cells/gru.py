"""Gated recurrent units in their three forms. Gate order: `r z n` (reset, update, candidate)."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import GRUCarry
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, pointwise_cell, step_cell
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

Activation = Callable[[Array], Array]


@checked
def gru(
    features: int,
    *,
    reset: Literal["after", "before", "to_bias"] = "after",
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """A gated recurrent unit; the output is `hₜ`. Everywhere `rₜ, zₜ = σ(W xₜ + U hₜ₋₁ + b)`, each its own.

    * `reset="after"`, the reset gate after the product, as in torch, cuDNN, keras and flax:
      `n = tanh(W xₜ + b + rₜ ⊙ (U hₜ₋₁ + b_hn))`, `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁`; the fused engine's form.
    * `reset="before"`, the paper's: `n = tanh(W xₜ + U (rₜ ⊙ hₜ₋₁) + b)`, `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁` (Cho et al.
      2014, "Learning phrase representations using RNN encoder–decoder").
    * `reset="to_bias"`, the reset gate moves the state towards a learned vector instead of zero:
      `n = tanh(W xₜ + U ((1 − rₜ) ⊙ hₜ₋₁ + rₜ ⊙ b_h) + b)`, `hₜ = (1 − zₜ) ⊙ hₜ₋₁ + zₜ ⊙ n`. Mind that both gates
      act the other way round here: `r = 1` forgets, `z = 1` takes the candidate.

    Args:
      features: H, the width of the state.
      reset: which of the three forms.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      kernel_init: draws `kernel [D, 3, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [H, 3, H]` gate by gate.
      use_bias: whether there are `bias` and `recurrent_bias`.
      bias_init: draws `bias [3, H]` as a whole; the vectors `recurrent_bias [H]` (`b_hn`; `"after"` alone) and
        `reset_bias [H]` (`b_h`; `"to_bias"` alone) start at zero.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `GRUCarry(h)`.

    Raises:
      ValueError: `features` is not a positive int; an unknown `reset`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gru(8, reset="before")
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((5, 2, 8), (2, 8))
    """
    forms = {"after": _after, "before": _before, "to_bias": _to_bias}
    init = partial(
        initializers.dense_params,
        features=features,
        gates=3,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=bias_init if use_bias else None,
        param_dtype=param_dtype,
    )
    return forms[reset](init, activation, gate_activation, use_bias, dtype)


def _with_vector(init: Callable[..., Params], name: str) -> Callable[..., Params]:
    def with_vector(key: Array, in_features: int) -> Params:
        params = init(key, in_features)
        kernel = params["kernel"]
        return {**params, name: jnp.zeros(kernel.shape[-1:], kernel.dtype)}

    return with_vector


def _after(
    init: Callable[..., Params], activation: Activation, gate_activation: Activation, use_bias: bool, dtype: Any
) -> Cell:
    def pointwise(params: Params, carry: GRUCarry, gates: tuple[Any, ...]) -> tuple[GRUCarry, Array]:
        r, z, (n_x, n_h) = gates
        r, z = gate_activation(r), gate_activation(z)
        n = activation(n_x + r * (n_h + params["recurrent_bias"] if use_bias else n_h))
        h = (1 - z) * n + z * carry.h
        return GRUCarry(h), h

    init = _with_vector(init, "recurrent_bias") if use_bias else init
    return pointwise_cell(pointwise, init, GRUCarry, gates=("r", "z", "n"), paired=("n",), dtype=dtype)


def _before(
    init: Callable[..., Params], activation: Activation, gate_activation: Activation, use_bias: bool, dtype: Any
) -> Cell:
    del use_bias  # the projection's

    def step(params: Params, carry: GRUCarry, zs: tuple[Array, ...]) -> tuple[GRUCarry, Array]:
        r, z, n_x, U, dot = _parts(params, carry, zs, gate_activation)
        n = activation(n_x + dot(r * carry.h, U[:, 2]))
        h = (1 - z) * n + z * carry.h
        return GRUCarry(h), h.astype(zs[0].dtype)

    return step_cell(step, init, GRUCarry, dtype=dtype)._replace(cast=cast("recurrent_kernel"))


def _to_bias(
    init: Callable[..., Params], activation: Activation, gate_activation: Activation, use_bias: bool, dtype: Any
) -> Cell:
    del use_bias  # the projection's

    def step(params: Params, carry: GRUCarry, zs: tuple[Array, ...]) -> tuple[GRUCarry, Array]:
        r, z, n_x, U, dot = _parts(params, carry, zs, gate_activation)
        n = activation(n_x + dot((1 - r) * carry.h + r * align(params["reset_bias"], r), U[:, 2]))
        h = (1 - z) * carry.h + z * n
        return GRUCarry(h), h.astype(zs[0].dtype)

    cell = step_cell(step, _with_vector(init, "reset_bias"), GRUCarry, dtype=dtype)
    return cell._replace(cast=cast("recurrent_kernel"))


def _parts(params: Params, carry: GRUCarry, zs: tuple[Array, ...], gate_activation: Activation) -> tuple[Any, ...]:
    """The two gates, the candidate's input, the recurrent kernel, and the product in the computation's dtype."""
    dot = partial(product, dtype=zs[0].dtype)
    U = params["recurrent_kernel"]
    r_x, z_x, n_x = (z.astype(carry.h.dtype) for z in zs)
    r, z = (gate_activation(z + dot(carry.h, U[:, k])) for k, z in enumerate((r_x, z_x)))
    return r, z, n_x, U, dot
