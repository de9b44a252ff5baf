"""Defines convolutional cells, whose states are images. Gate orders: LSTM `i f g o`, GRU `r z n`."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, LSTMCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.images import Padding, image_cell, image_params, state_convolved, window_of
from jaxrnn.shapes import align
from jaxrnn.types import Activation, Array, Cell, Params


@checked
def conv_lstm(
    features: int,
    kernel_size: Sequence[int],
    *,
    padding: Padding = "same",
    strides: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    forget_bias: float = 1.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM with convolutions, `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(cₜ)`; the output is `hₜ`.

    The gates are `iₜ, fₜ, oₜ = σ(W ∗ xₜ + U ∗ hₜ₋₁ + b)` and `gₜ = tanh(W ∗ xₜ + U ∗ hₜ₋₁ + b)`, each with its own
    weights; images keep their size by default, and are 0 beyond their edges (Shi et al. 2015, "Convolutional LSTM
    network"; without its peepholes, as in keras and flax). Inputs are `[T, *batch, *spatial, D]`. `init_carry` takes
    `(*batch, *spatial)` of the inputs as its `batch_shape`; lengths, masks and resets have only the batch axes. One
    convolution before the loop covers the inputs of all steps.

    Args:
      features: H, the channels of the state.
      kernel_size: the window's size, an int for each of 1, 2 or 3 spatial axes.
      padding: of the convolution of the inputs: `"same"` with zeros around the images, `"valid"` without, so that the
        state is smaller than the inputs.
      strides: of the convolution of the inputs, an int or one for each spatial axis. The state has stride 1.
      dilation: of the window on the inputs, an int or one for each spatial axis.
      activation: the nonlinearity of the candidate, and of the cell state in the output.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: the number added to the forget gate's initial bias.
      **options: see `CellOptions`; the parameters are `kernel [*kernel_size, D, 4, H]`,
        `recurrent_kernel [*kernel_size, H, 4, H]` and `bias [4, H]`.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`, both `[*batch, *spatial, H]` with the spatial axes of the outputs.

    Raises:
      ValueError: `features` or an entry of `kernel_size`, `strides` or `dilation` is not a positive int; they do not
        have the same number of entries, 1 to 3; an unknown `padding`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.conv_lstm(8, (3, 3))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 4, 16, 16, 2)), lengths=jax.numpy.full(4, 5))
      >>> ys.shape, carry.c.shape
      ((5, 4, 16, 16, 8), (4, 16, 16, 8))
    """
    window = window_of("conv_lstm", kernel_size, padding, strides, dilation)

    def step(params: Params, carry: LSTMCarry, zs: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        rs = state_convolved(carry.h, params["recurrent_kernel"], zs[0].dtype)
        i, f, g, o = (z.astype(r.dtype) + r for z, r in zip(zs, rs, strict=True))
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h.astype(zs[0].dtype)

    own: CellOptions = {**options, "bias_init": initializers.gate_offset(options["bias_init"], 1, forget_bias)}
    init = partial(image_params, features=features, window=window.size, gates=4, options=own)
    return image_cell("conv_lstm", step, init, LSTMCarry, window, options["dtype"])


@checked
def conv_gru(
    features: int,
    kernel_size: Sequence[int],
    *,
    reset: Literal["after", "before"] = "after",
    padding: Padding = "same",
    strides: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    activation: Activation = jnp.tanh,
    gate_activation: Activation = sigmoid,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a GRU with convolutions as products: `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁`, and the output is `hₜ`.

    The gates are `rₜ, zₜ = σ(W ∗ xₜ + U ∗ hₜ₋₁ + b)`, each with its own weights. The candidate is
    `n = tanh(W ∗ xₜ + b + rₜ ⊙ (U ∗ hₜ₋₁ + b_hn))` with `reset="after"`, which takes one convolution per step, or
    `n = tanh(W ∗ xₜ + U ∗ (rₜ ⊙ hₜ₋₁) + b)` with `reset="before"`, the paper's, which takes two (Ballas et al. 2016,
    "Delving deeper into convolutional networks for learning video representations", whose z is 1 − z here). Images,
    carries, lengths and masks are as for `conv_lstm`.

    Args:
      features: H, the channels of the state.
      kernel_size: the window's size, an int for each of 1, 2 or 3 spatial axes.
      reset: whether the reset gate acts after or before the convolution of the state.
      padding: of the convolution of the inputs: `"same"` or `"valid"`, as for `conv_lstm`.
      strides: of the convolution of the inputs, an int or one for each spatial axis.
      dilation: of the window on the inputs, an int or one for each spatial axis.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      **options: see `CellOptions`; the parameters are `kernel [*kernel_size, D, 3, H]`,
        `recurrent_kernel [*kernel_size, H, 3, H]` and `bias [3, H]`. The vector `recurrent_bias [H]` (`b_hn`, for
        `"after"` with a bias) starts at zero.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`, `[*batch, *spatial, H]` with the spatial axes of the outputs.

    Raises:
      ValueError: `features` or an entry of `kernel_size`, `strides` or `dilation` is not a positive int; they do not
        have the same number of entries, 1 to 3; an unknown `padding` or `reset`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.conv_gru(8, (3,))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 4, 16, 2)))
      >>> ys.shape, carry.h.shape
      ((5, 4, 16, 8), (4, 16, 8))
    """
    window = window_of("conv_gru", kernel_size, padding, strides, dilation)
    use_bias = options["use_bias"]

    def before(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        U, (r_x, z_x, n_x) = params["recurrent_kernel"], (z.astype(carry.h.dtype) for z in zs)
        r_h, z_h = state_convolved(carry.h, U[..., :2, :], zs[0].dtype)
        r, z = gate_activation(r_x + r_h), gate_activation(z_x + z_h)
        (n_h,) = state_convolved(r * carry.h, U[..., 2:, :], zs[0].dtype)
        h = (1 - z) * activation(n_x + n_h) + z * carry.h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    def after(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        r_x, z_x, n_x = (z.astype(carry.h.dtype) for z in zs)
        r_h, z_h, n_h = state_convolved(carry.h, params["recurrent_kernel"], zs[0].dtype)
        r, z = gate_activation(r_x + r_h), gate_activation(z_x + z_h)
        n_h = n_h + align(params["recurrent_bias"].astype(n_h.dtype), n_h) if use_bias else n_h
        h = (1 - z) * activation(n_x + r * n_h) + z * carry.h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    def init(key: Array, in_features: int) -> Params:
        params = image_params(key, in_features, features=features, window=window.size, gates=3, options=options)
        vector = jnp.zeros(features, options["param_dtype"])
        return params | ({"recurrent_bias": vector} if use_bias and reset == "after" else {})

    step = before if reset == "before" else after
    return image_cell("conv_gru", step, init, HiddenCarry, window, options["dtype"])
