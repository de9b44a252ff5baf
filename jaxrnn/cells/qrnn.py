"""Defines the quasi-recurrent network. Gate order: `z f o i` (candidate, forget, output, input), if present.

`kernel[n]`, `[D, G, H]`, maps an input to the gates `n` steps later.
"""

from typing import Literal, Unpack

import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cell_options import LinearOptions
from jaxrnn.options import checked
from jaxrnn.recurrence.convolved import convolved_cell
from jaxrnn.types import Activation, Array, Cell


@checked
def qrnn(
    features: int,
    *,
    kernel_size: int = 2,
    pooling: Literal["f", "fo", "ifo"] = "fo",
    activation: Activation = jnp.tanh,
    **options: Unpack[LinearOptions],
) -> Cell:
    """Makes a quasi-recurrent network: gates from a convolution over time, then pooling, both parallel over time.

    `zₜ = tanh(Σₙ W_zⁿ xₜ₋ₙ + b_z)`, `fₜ, oₜ, iₜ = σ(Σₙ Wⁿ xₜ₋ₙ + b)`, each with its own weights, with `0 ≤ n < N` and
    zeros before the beginning; `cₜ = fₜ ⊙ cₜ₋₁ + (1 − fₜ) ⊙ zₜ`, and the output is `oₜ ⊙ cₜ` with pooling `"fo"`, `cₜ`
    with `"f"`; `"ifo"` has `iₜ` in place of `1 − fₜ` (Bradbury et al. 2017, "Quasi-recurrent neural networks"). The
    convolution is over the last valid inputs of the sequence: it skips invalid steps, and a reset begins with zeros.

    Args:
      features: H, the width of the state.
      kernel_size: N, the number of inputs that the gates see, including the current one.
      pooling: the gates after `z`.
      activation: the candidate's nonlinearity.
      **options: see `LinearOptions`; the parameters are `kernel [N, D, G, H]`, drawn per gate as a matrix
        `(N * D, H)`, and `bias [G, H]`.

    Returns:
      A `Cell` of structure `"linear_diagonal"` with carry `QRNNCarry(c, pending)`.

    Raises:
      ValueError: `features` or `kernel_size` is not a positive int; unknown `pooling`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.qrnn(8, kernel_size=3)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.pending.shape
      ((5, 2, 8), (2, 2, 24))
    """

    def coefficients(z: Array, f: Array, *rest: Array) -> tuple[Array, Array]:
        return sigmoid(f), (sigmoid(rest[1]) if pooling == "ifo" else sigmoid(-f)) * activation(z)

    def opened(c: Array, z: Array, f: Array, *rest: Array) -> Array:
        return c if pooling == "f" else sigmoid(rest[0]) * c

    gates = 1 + len(pooling)
    return convolved_cell(coefficients, features, options, gates=gates, kernel_size=kernel_size, readout=opened)
