"""`pool` takes the largest or the mean of the steps of each window."""

from typing import Literal

import jax.numpy as jnp

from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.windows import over_windows
from jaxrnn.types import Array, Carry, Layer, Params, Steps


@checked
def pool(size: int, *, stride: int | None = None, kind: Literal["max", "mean"] = "max") -> Layer:
    """Makes a layer that takes the maximum or the mean of each feature over windows of time.

    Windows, the outputs that are valid, and the sequences that they belong to are those of a `conv` with
    `kernel_size=size`: with the default stride the windows are beside one another, and the last one of a sequence may
    have fewer steps. Only steps of the sequence count, in a mean, too.

    Args:
      size: the number of steps of a window.
      stride: the number of steps from one window to the next; `size` if None.
      kind: `"max"` or `"mean"`.

    Returns:
      A `Layer` without parameters, without a `step`, since it is not causal, and without a carry: `()`. Its outputs are
      `[⌈T / stride⌉, *batch, D]`, 0 where invalid.

    Raises:
      ValueError: `size` or `stride` is not a positive int; `kind` is none of the above.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> xs = jnp.array([1.0, 3.0, 2.0, 0.0, 5.0])[:, None]
      >>> carry, ys = jaxrnn.unroll(jaxrnn.pool(2), {}, xs)
      >>> ys[:, 0].tolist()
      [3.0, 2.0, 5.0]
      >>> carry, ys = jaxrnn.unroll(jaxrnn.pool(2, kind="mean"), {}, xs, lengths=jnp.array(3))
      >>> ys[:, 0].tolist()
      [2.0, 2.0, 0.0]
    """
    step = size if stride is None else stride

    def largest(windows: Array, inside: Array) -> Array:
        return jnp.where(inside[..., None], windows, -jnp.inf).max(-2)

    def mean(windows: Array, inside: Array) -> Array:
        wide = accumulator(windows.dtype)
        return (windows.astype(wide).sum(-2) / inside.sum(-1, dtype=wide)[..., None]).astype(windows.dtype)

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array, Steps]:
        return carry, *over_windows(largest if kind == "max" else mean, xs, steps, size=size, stride=step)

    return layer("pool", lambda key, in_features: {}, run, any_axes=True)
