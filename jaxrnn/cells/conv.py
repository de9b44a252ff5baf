"""Convolutional cells, for states that are images. Gate orders: LSTM `i f g o`, GRU `r z n`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from jaxrnn import checks, initializers
from jaxrnn.carries import HiddenCarry, LSTMCarry
from jaxrnn.initializers import Initializer
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Carry, Cell, Params

SPACE = "XYZ"


def conv_lstm(
    features: int,
    kernel_size: Sequence[int],
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    gate_activation: Callable[[Array], Array] = sigmoid,
    forget_bias: float = 1.0,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """An LSTM with convolutions for products: `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `hₜ = oₜ ⊙ tanh(cₜ)`, and the output is `hₜ`.

    With `iₜ, fₜ, oₜ = σ(W ∗ xₜ + U ∗ hₜ₋₁ + b)`, each its own, and `gₜ = tanh(W ∗ xₜ + U ∗ hₜ₋₁ + b)`; images keep
    their size, beyond their edges they are 0 (Shi et al. 2015, "Convolutional LSTM network"; without its peepholes, as
    in keras and flax). Inputs are `[T, *batch, *spatial, D]`. `init_carry` takes `(*batch, *spatial)` for its
    `batch_shape`; lengths, masks and resets have the batch axes alone. The convolution of the inputs is one, over all
    steps, before the loop.

    Args:
      features: H, the channels of the state.
      kernel_size: of the window, an int for each of 1, 2 or 3 spatial axes.
      activation: the nonlinearity of the candidate and of the memory on its way out.
      gate_activation: σ, the nonlinearity of the gates.
      forget_bias: added to the forget gate's initial bias.
      kernel_init: draws `kernel [*kernel_size, D, 4, H]` gate by gate: `(key, (*kernel_size, D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [*kernel_size, H, 4, H]` gate by gate.
      use_bias: whether there is one; without it no forget bias is added either.
      bias_init: draws `bias [4, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `LSTMCarry(c, h)`, both `[*batch, *spatial, H]`.

    Raises:
      ValueError: `features` or an entry of `kernel_size` is not a positive int; `kernel_size` has not 1 to 3 entries.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.conv_lstm(8, (3, 3))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 4, 16, 16, 2)), lengths=jax.numpy.full(4, 5))
      >>> ys.shape, carry.c.shape
      ((5, 4, 16, 16, 8), (4, 16, 16, 8))
    """
    _check("conv_lstm", features, kernel_size)

    def step(params: Params, carry: LSTMCarry, zs: tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        rs = _convolved(carry.h, params["recurrent_kernel"], zs[0].dtype)
        i, f, g, o = (z.astype(r.dtype) + r for z, r in zip(zs, rs, strict=True))
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(c, h), h.astype(zs[0].dtype)

    init = partial(
        _conv_params,
        features=features,
        window=tuple(kernel_size),
        gates=4,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=initializers.gate_offset(bias_init, 1, forget_bias) if use_bias else None,
        param_dtype=param_dtype,
    )
    return _conv_cell(step, init, LSTMCarry, len(kernel_size), dtype)


def conv_gru(
    features: int,
    kernel_size: Sequence[int],
    *,
    reset: Literal["before", "after"] = "before",
    activation: Callable[[Array], Array] = jnp.tanh,
    gate_activation: Callable[[Array], Array] = sigmoid,
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.orthogonal,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """A GRU with convolutions for products: `hₜ = (1 − zₜ) ⊙ n + zₜ ⊙ hₜ₋₁`, and the output is `hₜ`.

    With `rₜ, zₜ = σ(W ∗ xₜ + U ∗ hₜ₋₁ + b)`, each its own, and, with `reset="before"`, the paper's,
    `n = tanh(W ∗ xₜ + U ∗ (rₜ ⊙ hₜ₋₁) + b)` (Ballas et al. 2016, "Delving deeper into convolutional networks for
    learning video representations", whose z is 1 − z here), or, with `reset="after"`, one convolution a step instead of
    two, `n = tanh(W ∗ xₜ + b + rₜ ⊙ (U ∗ hₜ₋₁ + b_hn))`. Images, carries, lengths and masks as for `conv_lstm`.

    Args:
      features: H, the channels of the state.
      kernel_size: of the window, an int for each of 1, 2 or 3 spatial axes.
      reset: where the reset gate meets the candidate.
      activation: the candidate's nonlinearity.
      gate_activation: σ, the nonlinearity of the gates.
      kernel_init: draws `kernel [*kernel_size, D, 3, H]` gate by gate: `(key, (*kernel_size, D, H), dtype) -> Array`.
      recurrent_kernel_init: draws `recurrent_kernel [*kernel_size, H, 3, H]` gate by gate.
      use_bias: whether there is any.
      bias_init: draws `bias [3, H]` as a whole; `recurrent_bias [H]` (`b_hn`; `"after"` alone) starts at zero.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`, `[*batch, *spatial, H]`.

    Raises:
      ValueError: `features` or an entry of `kernel_size` is not a positive int; `kernel_size` has not 1 to 3 entries;
        an unknown `reset`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.conv_gru(8, (3,))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 4, 16, 2)))
      >>> ys.shape, carry.h.shape
      ((5, 4, 16, 8), (4, 16, 8))
    """
    _check("conv_gru", features, kernel_size)
    checks.check_choice("conv_gru", "reset", reset, ("before", "after"))

    def before(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        U, (r_x, z_x, n_x) = params["recurrent_kernel"], (z.astype(carry.h.dtype) for z in zs)
        r_h, z_h = _convolved(carry.h, U[..., :2, :], zs[0].dtype)
        r, z = gate_activation(r_x + r_h), gate_activation(z_x + z_h)
        (n_h,) = _convolved(r * carry.h, U[..., 2:, :], zs[0].dtype)
        h = (1 - z) * activation(n_x + n_h) + z * carry.h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    def after(params: Params, carry: HiddenCarry, zs: tuple[Array, ...]) -> tuple[HiddenCarry, Array]:
        r_x, z_x, n_x = (z.astype(carry.h.dtype) for z in zs)
        r_h, z_h, n_h = _convolved(carry.h, params["recurrent_kernel"], zs[0].dtype)
        r, z = gate_activation(r_x + r_h), gate_activation(z_x + z_h)
        n_h = n_h + align(params["recurrent_bias"].astype(n_h.dtype), n_h) if use_bias else n_h
        h = (1 - z) * activation(n_x + r * n_h) + z * carry.h
        return HiddenCarry(h), h.astype(zs[0].dtype)

    draw = partial(
        _conv_params,
        features=features,
        window=tuple(kernel_size),
        gates=3,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=bias_init if use_bias else None,
        param_dtype=param_dtype,
    )

    def init(key: Array, in_features: int) -> Params:
        vector = {"recurrent_bias": jnp.zeros(features, param_dtype)} if use_bias and reset == "after" else {}
        return draw(key, in_features) | vector

    return _conv_cell(before if reset == "before" else after, init, HiddenCarry, len(kernel_size), dtype)


def _check(where: str, features: Any, kernel_size: Any) -> None:
    checks.check_positive(where, "features", features)
    if not isinstance(kernel_size, Sequence) or not 1 <= len(kernel_size) <= len(SPACE):
        raise ValueError(f"{where}: kernel_size is {kernel_size!r}, expected a tuple of 1 to 3 ints, such as (3, 3)")
    for size in kernel_size:
        checks.check_positive(where, "an entry of kernel_size", size)


def _conv_params(
    key: Array,
    in_features: int,
    *,
    features: int,
    window: tuple[int, ...],
    gates: int,
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    bias_init: Initializer | None,
    param_dtype: Any,
) -> Params:
    def draw(init: Initializer, key: Array, channels: int) -> Array:
        shape, wide = (*window, channels, features), accumulator(param_dtype)
        per_gate = jax.vmap(lambda k: init(k, shape, wide), out_axes=-2)
        return per_gate(jax.random.split(key, gates)).astype(param_dtype)

    k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
    params = {
        "kernel": draw(kernel_init, k_kernel, in_features),
        "recurrent_kernel": draw(recurrent_kernel_init, k_recurrent, features),
    }
    return params if bias_init is None else params | {"bias": bias_init(k_bias, (gates, features), param_dtype)}


def _conv_cell(
    step: Callable[[Any, Any, tuple[Array, ...]], tuple[Any, Array]], init: Any, carry: Any, spatial: int, dtype: Any
) -> Cell:
    """A cell of the plain loop, from `step(params, carry, zs)` with `zs` the convolved inputs, one array a gate."""

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kernel = params["recurrent_kernel"]
        shape, wide = (*batch_shape, kernel.shape[-1]), accumulator(compute_dtype(dtype, kernel))
        return carry(*(zeros(shape, wide) for _ in carry._fields))

    def project(params: Params, xs: Array) -> tuple[Array, ...]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        zs = _convolved(xs, params["kernel"], compute)
        if "bias" in params:
            zs = tuple(z + align(b.astype(z.dtype), z) for z, b in zip(zs, params["bias"], strict=True))
        return tuple(z.astype(compute) for z in zs)

    return Cell(init, init_carry, project, step, None, "dense", num_feature_axes=1 + spatial)


def _convolved(xs: Array, kernel: Array, dtype: Any) -> tuple[Array, ...]:
    """`xs [..., *spatial, C] ∗ kernel [*window, C, G, H]`, one array `[..., *spatial, H]` a gate, in the accumulator.

    The convolution itself returns `dtype`: JAX cannot differentiate one that returns a wider type than it takes.
    """
    spatial = kernel.ndim - 3
    form = SPACE[:spatial]
    images = xs.reshape(math.prod(xs.shape[: -1 - spatial]), *xs.shape[-1 - spatial :]).astype(dtype)
    flat = kernel.reshape(*kernel.shape[:-2], -1).astype(dtype)
    layout = (f"N{form}C", f"{form}IO", f"N{form}C")
    out = lax.conv_general_dilated(images, flat, (1,) * spatial, "SAME", dimension_numbers=layout)
    out = out.reshape(*xs.shape[:-1], flat.shape[-1]).astype(accumulator(dtype))
    return tuple(jnp.split(out, kernel.shape[-2], axis=-1))
