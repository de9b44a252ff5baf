"""`griffin_block` and `mamba_block` have a short convolution and a recurrence in one branch, a gate in the other."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cells.mamba import mamba
from jaxrnn.cells.rg_lru import rg_lru
from jaxrnn.initializers import Initializer
from jaxrnn.layers.causal_conv import causal_conv
from jaxrnn.layers.gated import gated
from jaxrnn.layers.stack import stack
from jaxrnn.options import checked
from jaxrnn.types import Layer


@checked
def griffin_block(
    features: int,
    *,
    width: int | None = None,
    kernel_size: int = 4,
    eigenvalues: Literal["positive", "signed"] = "positive",
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes Griffin's recurrent block, `yₜ = W_o (rg_lru(conv(W_x x))ₜ ⊙ gelu(W_g xₜ))`, with biases.

    (De et al. 2024, "Griffin: mixing gated linear recurrences with local attention for efficient language models".)
    `residual(stack(layer_norm(), griffin_block(D)))` adds the norm before the block and the residual connection. The
    gates of the `rg_lru` have dense kernels here; the paper's models have block-diagonal ones.

    Args:
      features: H, the width of the output.
      width: E, of the recurrence; H if None. The paper's models have about `4 H / 3`.
      kernel_size: of the causal convolution, which is depthwise.
      eigenvalues: as for `rg_lru`.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step`. Its parameters are `kernel [D, 2, E]` (branch, gate), `bias [2, E]`, `out [E, H]`,
      `out_bias [H]` and, under `"branch"`, those of `stack(causal_conv(…), rg_lru(…))`, whose carry is its own.

    Raises:
      ValueError: `features`, `width` or `kernel_size` is not a positive int; unknown `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.griffin_block(8)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 8)
    """
    width = features if width is None else width
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    branch = stack(
        causal_conv(kernel_size, **common),
        rg_lru(width, eigenvalues=eigenvalues, use_value_kernel=False, **common),
    )
    return gated("griffin_block", branch, width, features, activation=jax.nn.gelu, use_bias=True, **common)


@checked
def mamba_block(
    features: int,
    *,
    expand: int = 2,
    states: int = 16,
    rank: int | None = None,
    kernel_size: int = 4,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes Mamba's block, `yₜ = W_o (s6(silu(conv(W_x x)))ₜ ⊙ silu(W_g xₜ))`, with a bias in the convolution.

    (Gu & Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces".)
    `residual(stack(layer_norm(), mamba_block(D)))` adds the norm before the block and the residual connection.

    Args:
      features: H, the width of the output.
      expand: the ratio of widths, `E = expand * H`.
      states: N, the states of each of its features.
      rank: R, the rank of the kernel of step sizes; `H / 16`, rounded up, if None.
      kernel_size: of the causal convolution, which is depthwise.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step`. Its parameters are `kernel [D, 2, E]` (branch, gate), `out [E, H]` and, under `"branch"`,
      those of `stack(causal_conv(…), mamba(…))`, whose carry is its own.

    Raises:
      ValueError: an argument is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.mamba_block(8, states=4)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 8)
    """
    width = expand * features
    rank = -(-features // 16) if rank is None else rank
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    branch = stack(
        causal_conv(kernel_size, activation=jax.nn.silu, **common),
        mamba(width, states=states, rank=rank, use_value_kernel=False, **common),
    )
    return gated("mamba_block", branch, width, features, activation=jax.nn.silu, use_bias=False, **common)
