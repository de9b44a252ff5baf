"""`griffin` is a whole network of recurrences and local attention."""

from functools import partial
from typing import Any, Literal

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.blocks import griffin_block
from jaxrnn.layers.gated_mlp import gated_mlp
from jaxrnn.layers.local_attention import local_attention
from jaxrnn.layers.residual import residual
from jaxrnn.layers.rms_norm import rms_norm
from jaxrnn.layers.stack import stack
from jaxrnn.options import checked
from jaxrnn.types import Layer


@checked
def griffin(
    features: int,
    *,
    depth: int,
    heads: int,
    window: int,
    expansion: int = 3,
    pattern: tuple[Literal["recurrent", "attention"], ...] = ("recurrent", "recurrent", "attention"),
    width: int | None = None,
    kernel_size: int = 4,
    kv_heads: int = 1,
    rotary_features: int | None = None,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a Griffin network, blocks that mix steps by a recurrence or by local attention, as a `stack`.

    Each block is `h = x + mixing(norm(x))`, `y = h + mlp(norm(h))`, where `mixing` is a `griffin_block` or a
    `local_attention` and `mlp` a `gated_mlp`; a last `rms_norm` follows all blocks (De et al. 2024, "Griffin: mixing
    gated linear recurrences with local attention for efficient language models"). With `pattern=("recurrent",)` it is
    Hawk. `stack(embedding(V, D), griffin(D, …), dense(V))` is a language model. In the authors' code a window does not
    count the current step, half of each head is rotated (`rotary_features`), and the gates of recurrences are
    block-diagonal.

    Args:
      features: D, the width of inputs, outputs and all between the blocks.
      depth: the number of blocks.
      heads: of attention, a divisor of `features`.
      window: of attention, including the current step.
      expansion: of the `gated_mlp`: M in the paper.
      pattern: the kinds of mixing of the first blocks, which are repeated for the others.
      width: of the recurrences; D if None. The paper's models have about `4 D / 3`.
      kernel_size: of the convolution before each recurrence.
      kv_heads: the heads of keys and values; 1, as in the paper, shares them among all queries.
      rotary_features: as for `local_attention`.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step`, the stack of the mixing of the first block, its `mlp`, those of the others, and the last
      norm, with parameters `{"layer_0": …, "layer_1": …, …}`.

    Raises:
      ValueError: a size is not a positive int; `heads` does not divide `features`, or `kv_heads` `heads`; `pattern` is
        empty or names another kind.

    Example:
      >>> import jax, jaxrnn
      >>> network = jaxrnn.griffin(8, depth=3, heads=2, window=4)
      >>> model = jaxrnn.stack(jaxrnn.embedding(100, 8), network, jaxrnn.dense(100))
      >>> params = model.init(jax.random.key(0), None)
      >>> carry, logits = jaxrnn.unroll(model, params, jax.numpy.array([[4, 7], [8, 1], [5, 0]]))
      >>> logits.shape
      (3, 2, 100)
    """
    if not pattern:
        raise ValueError("griffin: pattern is (), expected a tuple, each entry one of 'recurrent', 'attention'")
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    norm = rms_norm(dtype=dtype, param_dtype=param_dtype)

    def mixing(kind: str) -> Layer:
        if kind == "recurrent":
            return griffin_block(features, width=width, kernel_size=kernel_size, **common)
        attention = partial(local_attention, features=features, kv_heads=kv_heads, rotary_features=rotary_features)
        return attention(heads, window, use_bias=True, **common)

    parts = []
    for i in range(depth):
        parts += [mixing(pattern[i % len(pattern)]), gated_mlp(features, expansion=expansion, **common)]
    return stack(*(residual(stack(norm, part)) for part in parts), norm)
