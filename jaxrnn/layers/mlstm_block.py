"""`mlstm_block` is xLSTM's block around the LSTM whose cell state is a matrix."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.driver import run_layer, step_layer
from jaxrnn.initializers import Initializer
from jaxrnn.layers.causal_conv import causal_conv
from jaxrnn.layers.gated import gated
from jaxrnn.layers.layer import around
from jaxrnn.layers.stack import stack
from jaxrnn.options import checked
from jaxrnn.recurrence.exponential import exponential_cell, gate_params, log_gates
from jaxrnn.recurrence.kernels import through
from jaxrnn.recurrence.matrix import normalized
from jaxrnn.shapes import align
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps


@checked
def mlstm_block(
    features: int,
    *,
    expand: int = 2,
    heads: int = 4,
    block_size: int = 4,
    kernel_size: int = 4,
    chunk: int = 64,
    epsilon: float = 0.0,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes xLSTM's block, `yₜ = W_o ((norm(hₜ) + s ⊙ cₜ) ⊙ silu(W_g xₜ))` with `c = silu(conv(u))` and `uₜ = W_x xₜ`.

    Per head `hₜ` is the `hₜ` of an `mlstm` with `qₜ = W_q cₜ`, `√K kₜ = W_k cₜ` and `vₜ = W_v uₜ`, and with the gates
    `iₜ = exp(W_i zₜ + b_i)` and `fₜ = σ(W_f zₜ + b_f)` of `zₜ = [qₜ, √K kₜ, vₜ]` of all heads; `W_q`, `W_k` and `W_v`
    are block-diagonal (Beck et al. 2024, "xLSTM: extended long short-term memory"). `norm` normalises a head to mean 0
    and variance 1, then scales it. The convolution and the gates have biases. At first `s` is 1, the gates ignore the
    input, `b_f` goes from 3 to 6 over the heads and `b_i ~ N(0, 0.1²)`.
    `residual(stack(layer_norm(), mlstm_block(D)))` adds the norm before the block and the residual connection.

    Args:
      features: H, the width of the output.
      expand: the ratio of widths, `E = expand * H`.
      heads: the number of matrices in the state, each of `E / heads` rows and columns.
      block_size: b, the width of the blocks of `W_q`, `W_k` and `W_v`; with `E` they are dense.
      kernel_size: of the causal convolution, which is depthwise.
      chunk: the number of steps that run as matrix products.
      epsilon: the number added to the denominator of `hₜ`, as in `mlstm`; the authors' code has 1e-6.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step`. Its parameters are `kernel [D, 2, E]` (branch, gate), `out [E, H]` and, under `"branch"`,
      in `layer_0` those of the `causal_conv`, in `layer_1` `query`, `key`, `value [E / b, b, 1, b]`, `scale` and
      `skip [E]`, and for the input and the forget gate, in this order, `rate [3 E, 2, heads]` and
      `rate_bias [2, heads]`. Its carry is `(CausalConvCarry(pending), MLSTMCarry(C, n, m))`.

    Raises:
      ValueError: a size is not a positive int; `heads` or `block_size` does not divide `expand * features`;
        `epsilon` is negative.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.mlstm_block(8)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 8)
    """
    width = expand * features
    for name, size in (("heads", heads), ("block_size", block_size)):
        if width % size:
            raise ValueError(f"mlstm_block: {name} is {size}, expected a divisor of expand * features, {width}")
    if epsilon < 0:
        raise ValueError(f"mlstm_block: epsilon is {epsilon}, expected a number of 0 or more")
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    branch = stack(
        _beside_input(causal_conv(kernel_size, activation=jax.nn.silu, **common)),
        _cell(width, heads, block_size, chunk, epsilon, **common),
    )
    return gated("mlstm_block", branch, width, features, activation=jax.nn.silu, use_bias=False, **common)


def _beside_input(inner: Layer) -> Layer:
    """Makes a layer `yₜ = [inner(x)ₜ, xₜ]`."""

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        carry, ys, _ = run_layer(inner, params, carry, xs, steps)
        return carry, jnp.concatenate([ys, xs], -1)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        carry, y = step_layer(inner, params, carry, x, None)
        return carry, jnp.concatenate([y, x], -1)

    return around(inner, "beside_input", run, step)


def _cell(
    width: int,
    heads: int,
    block_size: int,
    chunk: int,
    epsilon: float,
    *,
    kernel_init: Initializer,
    dtype: Any,
    param_dtype: Any,
) -> Cell:
    """Makes the recurrence with its skip; inputs after and before the convolution are side by side."""
    keys = width // heads

    def init(key: Array, in_features: int) -> Params:
        del in_features  # it is twice the width
        k_query, k_key, k_value, k_rate = jax.random.split(key, 4)

        def blocks(key: Array) -> Array:
            drawn = initializers.per_gate(kernel_init, key, block_size, width // block_size, block_size, param_dtype)
            return drawn.swapaxes(0, 1)[:, :, None]  # this is the layout of block-diagonal recurrent kernels

        return {
            "query": blocks(k_query),
            "key": blocks(k_key),
            "value": blocks(k_value),
            **gate_params(k_rate, 3 * width, heads, param_dtype),
            "scale": jnp.ones(width, param_dtype),
            "skip": jnp.ones(width, param_dtype),
        }

    def inputs(params: Params, xs: Array) -> dict[str, Array]:
        sources = {"query": xs[..., :width], "key": xs[..., :width], "value": xs[..., width:]}
        made = [through(params[name], xs.dtype, flat=True)(source) for name, source in sources.items()]
        q, k, v = (a.reshape(*a.shape[:-1], heads, keys) for a in made)
        return {"q": q, "k": k * keys**-0.5, "v": v, **log_gates(params, jnp.concatenate(made, -1).astype(xs.dtype))}

    def readout(params: Params, hs: Array, xs: Array) -> Array:
        centred = hs - hs.mean(-1, keepdims=True)
        ys = normalized(centred, params["scale"].reshape(heads, -1)).reshape(*hs.shape[:-2], width)
        return ys + align(params["skip"], ys) * xs[..., :width]

    return exponential_cell(inputs, init, heads, keys, keys, readout=readout, chunk=chunk, epsilon=epsilon, dtype=dtype)
