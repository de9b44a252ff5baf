"""Defines the sLSTM of the xLSTM. Gate order: `i f g o` (input, forget, candidate, output)."""

from typing import Any, Literal, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params


@serializable
class SLSTMCarry(NamedTuple):
    """The state of an `slstm`, each field `[*batch, H]`.

    Attributes:
      c: the cell state, times `exp(−m)`.
      n: the normaliser, the sum of the weights of all inputs, times `exp(−m)`; where it is 0, the cell state is empty.
      m: the stabiliser, unused where n is 0.
      h: the output.
    """

    c: Array
    n: Array
    m: Array
    h: Array


@checked
@defaults(recurrent_kernel_init=initializers.zeros)
def slstm(
    features: int,
    *,
    heads: int = 1,
    forget: Literal["sigmoid", "exp"] = "sigmoid",
    forget_bias: float = 3.0,
    forget_spread: float = 3.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes an LSTM with exponential gates, whose normalised cell state is a weighted mean of its candidates.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `nₜ = fₜ ⊙ nₜ₋₁ + iₜ`, `hₜ = oₜ ⊙ cₜ / nₜ`, and the output is `hₜ`. The gates are
    `iₜ = exp(ĩₜ)`, `fₜ = σ(f̃ₜ)` or `exp(f̃ₜ)`, `gₜ = tanh(g̃ₜ)`, `oₜ = σ(õₜ)`, each of its own `W xₜ + R hₜ₋₁ + b`,
    where R is block-diagonal: heads do not see each other (Beck et al. 2024, "xLSTM: extended long short-term memory").

    The carry has `c exp(−m)` and `n exp(−m)` with `mₜ = max(log fₜ + mₜ₋₁, ĩₜ)`, so that no exponential is larger than
    1, and h does not depend on m. A cell state with `nₜ₋₁ = 0` counts as empty whatever its m is: then `mₜ = ĩₜ`, as in
    the authors' code. So a carry of zeros is the initial one, and multiplying a carry by 0 resets it.

    Args:
      features: H, the width of the state.
      heads: the number of blocks of R; a divisor of H.
      forget: the forget gate's nonlinearity.
      forget_bias: the number added to the initial bias of the forget gate, at the first feature of each head.
      forget_spread: the increase of that number over the features of each head, in even steps.
      **options: see `CellOptions`; the parameters are `kernel [D, 4, H]`, `bias [4, H]` and, for R,
        `recurrent_kernel [heads, H/heads, 4, H/heads]`. It is drawn per head and gate, and is zero by default, as in
        the authors' code.

    Returns:
      A `Cell` with carry `SLSTMCarry(c, n, m, h)`.

    Raises:
      ValueError: `features` or `heads` is not a positive int; `heads` does not divide `features`; an unknown `forget`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.slstm(8, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, params["recurrent_kernel"].shape
      ((5, 2, 8), (2, 4, 4, 4))
    """
    if features % heads:
        raise ValueError(f"slstm: heads is {heads}, expected a divisor of features={features}")
    width = features // heads

    def pointwise(params: Params, carry: SLSTMCarry, gates: tuple[Array, ...]) -> tuple[SLSTMCarry, Array]:
        del params  # the engine has applied them all
        i, f, g, o = gates
        log_f = (log_sigmoid(f) if forget == "sigmoid" else f) + carry.m
        log_f = jnp.where(carry.n == 0, -jnp.inf, log_f)  # the cell state is empty: the first input has all the weight
        m = jnp.maximum(log_f, i)
        f, i = jnp.exp(log_f - m), jnp.exp(i - m)
        c = f * carry.c + i * jnp.tanh(g)
        n = f * carry.n + i
        h = sigmoid(o) * c / n
        return SLSTMCarry(c, n, m, h), h

    def bias_init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        rising = jnp.linspace(forget_bias, forget_bias + forget_spread, width, dtype=dtype)
        return options["bias_init"](key, shape, dtype).at[1].add(jnp.tile(rising, heads))

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
        per_gate, dtype = initializers.per_gate, options["param_dtype"]

        def block(key: Array) -> Array:
            return per_gate(options["recurrent_kernel_init"], key, width, 4, width, dtype)

        params = {
            "kernel": per_gate(options["kernel_init"], k_kernel, in_features, 4, features, dtype),
            "recurrent_kernel": jax.vmap(block)(jax.random.split(k_recurrent, heads)),
        }
        return params | ({"bias": bias_init(k_bias, (4, features), dtype)} if options["use_bias"] else {})

    def learned(carry: SLSTMCarry) -> tuple[SLSTMCarry, tuple[str, ...]]:
        """Learns the cell state c with the weight exp(m), which no update can make negative."""
        return carry._replace(n=jnp.ones_like(carry.n)), ("c", "m", "h")

    cell = pointwise_cell(pointwise, features, SLSTMCarry, gates=("i", "f", "g", "o"), **options)
    return cell._replace(init=init, learned=learned)
