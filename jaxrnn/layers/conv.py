"""`conv` convolves over time, looking ahead, and may have fewer outputs than inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.loop import activated
from jaxrnn.recurrence.windows import over_windows
from jaxrnn.shapes import align
from jaxrnn.types import Array, Carry, Layer, Params, Steps


@checked
def conv(
    features: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    activation: Callable[[Array], Array] | None = None,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_normal,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Makes a layer `yⱼ = activation(Σₙ Wₙ x_{s j + d n − p} + b)` with stride `s`, a convolution over time.

    It looks ahead; `causal_conv` does not. Inputs outside the sequence are 0. The padding is `p = ⌊(k − s) / 2⌋`, or 0
    for `k < s`, where a window of `kernel_size` entries reaches over `k = d (kernel_size − 1) + 1` steps. This is the
    padding `"SAME"` of a length that the stride divides: with a stride of 1 an output is aligned with its input.

    A sequence of `n` valid steps has `⌈n / s⌉` outputs, and T steps become `⌈T / s⌉`. Layers after it see the masks and
    resets of the outputs. Windows have valid steps alone, of one sequence, whatever lies between them:

    * Of the valid steps of a row every `s`-th is kept, beginning with the first. An output belongs to the sequence of
      its step, and is at time `t // s` where that step is at `t`.
    * In a packed row, a sequence gives what it would give alone if the valid steps before it are a multiple of `s`;
      else the steps that are kept are others of it.

    Args:
      features: F, the width of the output.
      kernel_size: the number of entries of a window.
      stride: s, the number of steps from one window to the next.
      dilation: d, the number of steps from one entry of a window to the next.
      activation: applied to `[..., F]`; None leaves the output linear.
      use_bias: whether there is a bias.
      kernel_init: draws `(kernel_size * D, F)` for `kernel [kernel_size, D, 1, F]`.
      bias_init: draws `bias [F]`.
      dtype: of the computation; None: promoted from inputs and parameters.
      param_dtype: of the parameters.

    Returns:
      A `Layer` without a `step`, since it is not causal, and without a carry: `()`. Its outputs are
      `[⌈T / s⌉, *batch, F]`, 0 where invalid.

    Raises:
      ValueError: `features`, `kernel_size`, `stride` or `dilation` is not a positive int.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> front = jaxrnn.conv(8, 3, stride=2, activation=jax.nn.relu)
      >>> model = jaxrnn.stack(front, jaxrnn.bidirectional(jaxrnn.gru(8)))
      >>> params = model.init(jax.random.key(0), 3)
      >>> lengths = jnp.array([9, 4])
      >>> carry, ys = jaxrnn.unroll(model, params, jnp.ones((9, 2, 3)), lengths=lengths)
      >>> ys.shape, jaxrnn.last(ys, lengths=-(-lengths // 2)).shape
      ((5, 2, 16), (2, 16))
    """

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_bias = jax.random.split(key)
        kernel = kernel_init(k_kernel, (kernel_size * in_features, features), accumulator(param_dtype))
        params = {"kernel": kernel.astype(param_dtype).reshape(kernel_size, in_features, 1, features)}
        return params | ({"bias": bias_init(k_bias, (features,), param_dtype)} if use_bias else {})

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array, Steps]:
        compute = compute_dtype(dtype, xs, *params.values())
        kernel = params["kernel"].reshape(-1, features)

        def products(windows: Array, inside: Array) -> Array:
            del inside  # what is not is 0
            return product(windows.reshape(*windows.shape[:-2], len(kernel)), kernel, compute)

        ys, steps = over_windows(products, xs, steps, size=kernel_size, stride=stride, dilation=dilation)
        ys = ys + align(params["bias"].astype(ys.dtype), ys) if use_bias else ys
        return carry, activated(activation, steps.valid, ys).astype(compute), steps

    return layer("conv", init, run, any_axes=True)
