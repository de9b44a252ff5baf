"""The scalar memory of the xLSTM. Gate order: `i f g o` (input, forget, candidate, output)."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.recurrence.pointwise import pointwise_cell
from jaxrnn.types import Array, Cell, Params


@serializable
class SLSTMCarry(NamedTuple):
    """What an `slstm` remembers, each `[*batch, H]`.

    Attributes:
      c: the memory, times `exp(−m)`.
      n: the weight of all that is in it, times `exp(−m)`; where it is 0, nothing is in it.
      m: the stabiliser; where n is 0 it has no meaning.
      h: the output.
    """

    c: Array
    n: Array
    m: Array
    h: Array


@checked
def slstm(
    features: int,
    *,
    heads: int = 1,
    forget: Literal["sigmoid", "exp"] = "sigmoid",
    forget_bias: tuple[float, float] = (3.0, 6.0),
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_kernel_init: Initializer = initializers.zeros,
    use_bias: bool = True,
    bias_init: Initializer = initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Cell:
    """An LSTM with exponential gates, whose memory is a weighted mean of all that it took in.

    `cₜ = fₜ ⊙ cₜ₋₁ + iₜ ⊙ gₜ`, `nₜ = fₜ ⊙ nₜ₋₁ + iₜ`, `hₜ = oₜ ⊙ cₜ / nₜ`, and the output is `hₜ`. With `iₜ = exp(ĩₜ)`,
    `fₜ = σ(f̃ₜ)` or `exp(f̃ₜ)`, `gₜ = tanh(g̃ₜ)`, `oₜ = σ(õₜ)`, each of a `W xₜ + R hₜ₋₁ + b` of its own, where R is
    block-diagonal: heads do not see each other (Beck et al. 2024, "xLSTM: extended long short-term memory").

    What is kept is `c exp(−m)` and `n exp(−m)` with `mₜ = max(log fₜ + mₜ₋₁, ĩₜ)`, so that no exponential is larger
    than 1, and h does not depend on m. A memory without weight, `nₜ₋₁ = 0`, counts as empty whatever its m is: then
    `mₜ = ĩₜ`, as in the authors' code. So a carry of zeros is the beginning, and one multiplied by 0 begins anew.

    Args:
      features: H, the width of the state.
      heads: blocks of R; a divisor of H.
      forget: how the forget gate opens.
      forget_bias: added to the initial bias of the forget gate: a ladder from the first number, at the first feature of
        each head, to the second, at its last one.
      kernel_init: draws `kernel [D, 4, H]` gate by gate: `(key, (D, H), dtype) -> Array`.
      recurrent_kernel_init: draws R, `recurrent_kernel [heads, H/heads, 4, H/heads]`, head by head and gate by gate;
        the authors start from zero.
      use_bias: whether there is one; without it there is no ladder either.
      bias_init: draws `bias [4, H]` as a whole.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

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
        del params  # all of them are the engine's
        i, f, g, o = gates
        log_f = (log_sigmoid(f) if forget == "sigmoid" else f) + carry.m
        log_f = jnp.where(carry.n == 0, -jnp.inf, log_f)  # nothing to forget: the first input has all of the weight
        m = jnp.maximum(log_f, i)
        f, i = jnp.exp(log_f - m), jnp.exp(i - m)
        c = f * carry.c + i * jnp.tanh(g)
        n = f * carry.n + i
        h = sigmoid(o) * c / n
        return SLSTMCarry(c, n, m, h), h

    def biases(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        ladder = jnp.tile(jnp.linspace(*forget_bias, width, dtype=dtype), heads)
        return bias_init(key, shape, dtype).at[1].add(ladder)

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)

        def block(key: Array) -> Array:
            return initializers.per_gate(recurrent_kernel_init, key, width, 4, width, param_dtype)

        params = {
            "kernel": initializers.per_gate(kernel_init, k_kernel, in_features, 4, features, param_dtype),
            "recurrent_kernel": jax.vmap(block)(jax.random.split(k_recurrent, heads)),
        }
        return params | ({"bias": biases(k_bias, (4, features), param_dtype)} if use_bias else {})

    def learned(carry: SLSTMCarry) -> tuple[SLSTMCarry, tuple[str, ...]]:
        """A memory with a weight: the value is c, the weight exp(m), which no update can make negative."""
        return carry._replace(n=jnp.ones_like(carry.n)), ("c", "m", "h")

    cell = pointwise_cell(pointwise, init, SLSTMCarry, gates=("i", "f", "g", "o"), dtype=dtype)
    return cell._replace(learned=learned)
