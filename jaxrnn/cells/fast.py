"""Defines networks with a weighted residual connection over time. Both have one product, `h`."""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer, per_gate
from jaxrnn.options import checked
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.recurrence.reparametrized import reparametrized
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def fast_rnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    rank: int | None = None,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an Elman cell with a weighted residual connection, two numbers that training adjusts; the output is `hₜ`.

    `hₜ = σ(α) tanh(W xₜ + U hₜ₋₁ + b) + σ(β) hₜ₋₁` (Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny
    kilobyte sized gated recurrent neural network", where α and β are the weights themselves, `σ(α)` and `σ(β)` here).
    With a `rank` W and U are products of two kernels, as there.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      rank: R, that of W and U, of which there are `kernel_down [D, 1, R]`, `kernel_up [R, 1, H]`, and likewise
        `recurrent_kernel_down` and `recurrent_kernel_up`. They are multiplied before the steps: there are fewer
        parameters, and a step takes as long. None: W and U are whole.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]`, `bias [1, H]`,
        and the numbers `alpha []` and `beta []`. They start at −3 and 3, as in the authors' implementation: a small
        weight of the candidate, and one of the state near 1.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` or `rank` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.fast_rnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["alpha"].shape
      ((5, 2, 8), ())
    """

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        h = sigmoid(params["alpha"]) * activation(gates[0]) + sigmoid(params["beta"]) * carry.h
        return HiddenCarry(h), h

    cell = pointwise_cell(
        pointwise,
        features,
        HiddenCarry,
        gates=("h",),
        extra={"alpha": _number(-3.0), "beta": _number(3.0)},
        activations={"h": activation},
        **options,
    )
    return cell if rank is None else _of_rank(cell, rank, features, options)


@checked
def fast_grnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    rank: int | None = None,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a gated cell whose gate and candidate have the same matrices; the output is `hₜ`.

    `z = σ(W xₜ + U hₜ₋₁ + b_z)`, `h̃ = tanh(W xₜ + U hₜ₋₁ + b_h)`, and `hₜ = (σ(ζ) (1 − z) + σ(ν)) ⊙ h̃ + z ⊙ hₜ₋₁`
    (Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated recurrent neural network",
    where ζ and ν are what is `σ(ζ)` and `σ(ν)` here). With a `rank` W and U are products of two kernels, as there.

    Args:
      features: H, the width of the state.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      rank: R, that of W and U, of which there are `kernel_down [D, 1, R]`, `kernel_up [R, 1, H]`, and likewise
        `recurrent_kernel_down` and `recurrent_kernel_up`. They are multiplied before the steps: there are fewer
        parameters, and a step takes as long. None: W and U are whole.
      **options: see `CellOptions`; the parameters are `kernel [D, 1, H]`, `recurrent_kernel [H, 1, H]`, `bias [2, H]`
        with `b_z` and `b_h`, and the numbers `zeta []` and `nu []`, which start at 1 and −4, as in the authors'
        implementation.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features` or `rank` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.fast_grnn(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["bias"].shape
      ((5, 2, 8), (2, 8))
    """
    dtype = options["param_dtype"]

    def pointwise(params: Params, carry: HiddenCarry, gates: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        b_z, b_h = params.get("biases", (0, 0))
        z = gate_activation(gates[0] + b_z)
        n = activation(gates[0] + b_h)
        h = (sigmoid(params["zeta"]) * (1 - z) + sigmoid(params["nu"])) * n + z * carry.h
        return HiddenCarry(h), h

    def init(key: Array, in_features: int) -> Params:
        k_params, k_bias = jax.random.split(key)
        bias = {"bias": options["bias_init"](k_bias, (2, features), dtype)} if options["use_bias"] else {}
        return whole.init(k_params, in_features) | bias

    def renamed(params: Params) -> Params:
        """Hides the biases from the engine, which would add one of them to the product that both gates share."""
        return {"biases" if name == "bias" else name: p for name, p in params.items()}

    extra = {"zeta": _number(1.0), "nu": _number(-4.0)}
    own = options | {"use_bias": False}
    whole = pointwise_cell(pointwise, features, HiddenCarry, gates=("h",), extra=extra, **own)
    cell = reparametrized(whole, init, renamed)
    return cell if rank is None else _of_rank(cell, rank, features, options)


def _of_rank(cell: Cell, rank: int, features: int, options: CellOptions) -> Cell:
    """Returns the cell with products of two kernels in place of W and of U."""
    draws = {"kernel": options["kernel_init"], "recurrent_kernel": options["recurrent_kernel_init"]}

    def init(key: Array, in_features: int) -> Params:
        k_cell, *keys = jax.random.split(key, 5)
        params = cell.init(k_cell, in_features)
        for (k_down, k_up), (name, draw) in zip((keys[:2], keys[2:]), draws.items(), strict=True):
            rows, dtype = params[name].shape[0], params.pop(name).dtype
            params[f"{name}_down"] = per_gate(draw, k_down, rows, 1, rank, dtype)
            params[f"{name}_up"] = per_gate(draw, k_up, rank, 1, features, dtype)
        return params

    def multiplied(params: Params) -> Params:
        made = dict(params)
        for name in draws:
            down, up = made.pop(f"{name}_down"), made.pop(f"{name}_up")
            made[name] = product(down[:, 0], up, down.dtype).astype(down.dtype)
        return made

    return reparametrized(cell, init, multiplied)


def _number(value: float) -> tuple[Initializer, tuple[int, ...]]:
    """Returns the entry of `extra` for a parameter that is one number."""
    return jax.nn.initializers.constant(value), ()
