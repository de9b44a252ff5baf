"""`causal_conv` convolves over the current and past inputs; its carry has the window."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence import delayed
from jaxrnn.recurrence.loop import activated
from jaxrnn.recurrence.split import at_end
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Layer, Params, Steps


@serializable
class CausalConvCarry(NamedTuple):
    """`pending [*batch, kernel_size − 1, F]`, the sums of past inputs for the outputs of the next steps."""

    pending: Array


@checked
def causal_conv(
    kernel_size: int,
    *,
    features: int | None = None,
    activation: Callable[[Array], Array] | None = None,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `yₜ = activation(Σₙ wₙ ⊙ xₜ₋ₙ + b)` with `0 ≤ n < kernel_size`, a causal depthwise convolution.

    It is the short convolution before a linear recurrence in Mamba (Gu & Dao 2023) and Griffin (De et al. 2024).
    Inputs before the beginning are zero. The window has the last valid inputs of the sequence: it skips invalid steps,
    and a reset empties it.

    Args:
      kernel_size: the number of inputs that an output sees, including the current one.
      features: F, the width of the output, each feature of which then sees all features of the input, `Wₙ xₜ₋ₙ`; None:
        depthwise, as above.
      activation: applied to `[..., F]`; None leaves the output linear.
      use_bias: whether there is a bias.
      kernel_init: draws `depthwise_kernel [kernel_size, D]`; with `features`, `(kernel_size * D, F)` for
        `kernel [kernel_size, D, 1, F]`. Entry `n` maps an input to the output `n` steps later.
      bias_init: draws `bias [F]`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step` and carry `CausalConvCarry(pending)`. At invalid steps the output is 0, whatever the bias.

    Raises:
      ValueError: `kernel_size` or `features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.causal_conv(4, activation=jax.nn.silu), jaxrnn.rg_lru(8))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry[0].pending.shape
      ((5, 2, 8), (2, 3, 3))
    """
    name = "depthwise_kernel" if features is None else "kernel"  # only the latter has matrices

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        rows, out = (kernel_size, in_features) if features is None else (kernel_size * in_features, features)
        kernel = kernel_init(k_kernel, (rows, out), accumulator(param_dtype)).astype(param_dtype)
        params = {name: kernel if features is None else kernel.reshape(kernel_size, in_features, 1, out)}
        return params | ({"bias": bias_init(k_bias, (out,), param_dtype)} if use_bias else {})

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> CausalConvCarry:
        shape = (*batch_shape, kernel_size - 1, params[name].shape[-1])
        return CausalConvCarry(zeros(shape, accumulator(compute_dtype(dtype, *params.values()))))

    def parts(params: Params, xs: Array) -> Array:
        """Returns the summands of each input for its own step and the next ones, `[..., kernel_size, F]`."""
        compute, kernel = compute_dtype(dtype, xs, *params.values()), params[name]
        wide = accumulator(compute)
        if features is None:
            return xs.astype(wide)[..., None, :] * align(kernel.astype(wide), xs[..., None])
        flat = jnp.moveaxis(kernel, 0, 1).reshape(kernel.shape[1], -1)
        return product(xs, flat, compute).reshape(*xs.shape[:-1], kernel_size, features)

    def outputs(params: Params, sums: Array, xs: Array, valid: Array | None) -> Array:
        ys = sums + align(params["bias"].astype(sums.dtype), sums) if use_bias else sums
        return activated(activation, valid, ys).astype(compute_dtype(dtype, xs, *params.values()))

    def run(params: Params, carry: CausalConvCarry, xs: Array, steps: Steps) -> tuple[CausalConvCarry, Array]:
        fresh, split = init_carry(params, xs.shape[1:-1]).pending, steps.split
        pending, sums = delayed.over_time(
            carry.pending, parts(params, xs), valid=steps.valid, resets=steps.resets, fresh=fresh, split=split
        )
        return CausalConvCarry(at_end(split, pending)), outputs(params, sums, xs, steps.valid)

    def step(params: Params, carry: CausalConvCarry, x: Array) -> tuple[CausalConvCarry, Array]:
        pending, sums = delayed.step(carry.pending, parts(params, x))
        return CausalConvCarry(pending), outputs(params, sums, x, None)

    return layer("causal_conv", init, run, step, init_carry, splits=True)
