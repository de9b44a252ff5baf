"""`attention` reads an encoded sequence: a mean of its vectors, weighted by how well each fits a query."""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn import checks, initializers, trees
from jaxrnn.carries import serializable
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, einsum, product
from jaxrnn.recurrence.loop import silence
from jaxrnn.types import Array, Params

Scores = Literal["additive", "dot", "general", "scaled"]


@serializable
class Memory(NamedTuple):
    """An encoded sequence, to which a decoder attends.

    Attributes:
      values: floating `[S, *batch, D]`, such as the outputs of an encoder; S need not be the decoder's T.
      valid: bool `[S, *batch]`; where False, nothing of `values` is read, not even NaN. None: all valid.
    """

    values: Array
    valid: Array | None = None


@checked
def init_attention(
    key: Array,
    query_features: int,
    memory_features: int,
    *,
    scores: Scores = "dot",
    heads: int = 1,
    features: int | None = None,
    kernel_init: Initializer = initializers.lecun_normal,
    param_dtype: Any = jnp.float32,
) -> Params:
    """Draws the parameters of `attention`.

    Args:
      key: draws the kernels.
      query_features: Q, the width of a query.
      memory_features: D, the width of the vectors of the memory.
      scores: as for `attention`.
      heads: the number of weighted means.
      features: A, the width per head of the layer inside additive scores; None: Q.
      kernel_init: draws each kernel per head, `(key, (inputs, outputs), dtype) -> Array`.
      param_dtype: of the parameters.

    Returns:
      `{}` for scores without parameters; `{"kernel": [Q, heads, D]}` for general ones; and for additive ones
      `{"query_kernel": [Q, heads, A], "memory_kernel": [D, heads, A], "score": [heads, A]}`.

    Raises:
      ValueError: an option is out of range, heads do not divide D, or a query has another width than the memory with
        scores that compare them feature by feature.

    Example:
      >>> import jax, jaxrnn
      >>> params = jaxrnn.init_attention(jax.random.key(0), 4, 6, scores="general", heads=2)
      >>> params["kernel"].shape
      (4, 2, 6)
    """
    check_widths("init_attention", scores, heads, query_features, memory_features)

    def kernel(key: Array, rows: int, width: int) -> Array:
        return initializers.per_gate(kernel_init, key, rows, heads, width, param_dtype)

    if scores == "general":
        return {"kernel": kernel(key, query_features, memory_features)}
    if scores != "additive":
        return {}
    width = query_features if features is None else features
    k_query, k_memory, k_score = jax.random.split(key, 3)
    return {
        "query_kernel": kernel(k_query, query_features, width),
        "memory_kernel": kernel(k_memory, memory_features, width),
        "score": kernel(k_score, width, 1)[..., 0].T,
    }


@checked
def attention(
    query: Array,
    memory: Memory,
    params: Params | None = None,
    *,
    scores: Scores = "dot",
    heads: int = 1,
    dtype: Any = None,
) -> tuple[Array, Array]:
    """Returns the mean of the vectors of a memory, weighted by how well each fits a query.

    With a score `eₛ` of the query q and each vector `mₛ`, `context = Σₛ wₛ mₛ` where `w = softmax(e)` over the valid
    vectors. The scores are

    * `"dot"`: `eₛ = qᵀ mₛ` (Luong et al. 2015, "Effective approaches to attention-based neural machine translation");
    * `"scaled"`: `eₛ = qᵀ mₛ / √D` (Vaswani et al. 2017, "Attention is all you need");
    * `"general"`: `eₛ = qᵀ W mₛ` (Luong et al. 2015);
    * `"additive"`: `eₛ = vᵀ tanh(W q + U mₛ)` (Bahdanau et al. 2015, "Neural machine translation by jointly learning to
      align and translate").

    Each of several heads has weights of its own, and takes the mean of its own `D / heads` features; the context has
    the features of all heads side by side. The first two scores then compare the head's features of query and memory,
    and D is their number; the last two have W, U and v for each head.

    Args:
      query: floating `[*batch, Q]`. Of many steps: `jax.vmap(lambda q: attention(q, memory))(queries)`.
      memory: the encoded sequence, with values `[S, *batch, D]`.
      params: from `init_attention`; None for scores without parameters.
      scores: `"additive"`, `"dot"`, `"general"` or `"scaled"`.
      heads: the number of weighted means; it divides D.
      dtype: of the computation; None: promoted from query, memory and parameters. Scores are float32 at least.

    Returns:
      `(context, weights)`: `[*batch, D]` and `[S, *batch, heads]`. Where no vector is valid, both are 0; otherwise the
      weights of each head add up to 1.

    Raises:
      ShapeError: a shape or dtype does not fit.
      ValueError: heads do not divide D.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> memory = jaxrnn.Memory(jnp.array([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), jnp.array([True, True, False]))
      >>> context, weights = jaxrnn.attention(jnp.array([3.0, 0.0]), memory)
      >>> [f"{weight:.2f}" for weight in weights[:, 0]]
      ['0.95', '0.05', '0.00']
    """
    query = checks.floating("attention", "query", query, 1, "[*batch, Q]")
    check_memory("attention", "memory", memory, query.shape[:-1], f"query of shape {query.shape}")
    given, (width, depth) = {} if params is None else params, (query.shape[-1], memory.values.shape[-1])
    check_widths("attention", scores, heads, width, depth)
    own = given["score"].shape[-1] if isinstance(given, dict) and "score" in given else None
    expected = jax.eval_shape(
        lambda key: init_attention(key, width, depth, scores=scores, heads=heads, features=own), jax.random.key(0)
    )
    trees.check_tree("attention", "params", given, expected, f"scores={scores!r} of query {query.shape}")
    return attend(given, query, remember(given, memory, scores, dtype), scores, heads, dtype)


class Remembered(NamedTuple):
    """A memory with all that does not depend on the query.

    Attributes:
      values: `[S, *batch, D]`, 0 where invalid.
      keys: what the query is compared with: `[S, *batch, heads, A]` for additive scores, otherwise `values`.
      valid: as in `Memory`.
    """

    values: Array
    keys: Array
    valid: Array | None


def remember(params: Params, memory: Memory, scores: Scores, dtype: Any) -> Remembered:
    """Computes, once for all queries, what scores need of the memory."""
    values = silence(memory.valid, memory.values)
    if scores != "additive":
        return Remembered(values, values, memory.valid)
    kernel = params["memory_kernel"]
    compute = compute_dtype(dtype, values, kernel)
    keys = product(values, kernel.reshape(kernel.shape[0], -1), compute)
    return Remembered(values, keys.reshape(*values.shape[:-1], *kernel.shape[1:]), memory.valid)


def attend(
    params: Params, query: Array, memory: Remembered, scores: Scores, heads: int, dtype: Any
) -> tuple[Array, Array]:
    """Returns `(context, weights)` of `attention`, without checks."""
    compute = compute_dtype(dtype, query, memory.values, *params.values())
    wide = accumulator(compute)

    summed = partial(einsum, dtype=compute)

    def per_head(a: Array) -> Array:
        return a.reshape(*a.shape[:-1], heads, a.shape[-1] // heads)

    match scores:
        case "additive":
            queries = summed("...q,qha->...ha", query, params["query_kernel"])
            hidden = jnp.tanh(queries[None] + memory.keys.astype(wide))
            e = summed("s...ha,ha->s...h", hidden, params["score"])
        case "general":
            e = summed("...hd,s...d->s...h", summed("...q,qhd->...hd", query, params["kernel"]), memory.keys)
        case _:
            e = summed("...hk,s...hk->s...h", per_head(query), per_head(memory.keys))
    if scores == "scaled":
        e = e / math.sqrt(query.shape[-1] // heads)
    weights = _softmax(e, memory.valid)
    context = summed("s...h,s...hk->...hk", weights, per_head(memory.values))
    return context.reshape(*context.shape[:-2], -1).astype(compute), weights.astype(compute)


def _softmax(e: Array, valid: Array | None) -> Array:
    """Returns the softmax over the first axis among what is valid; 0 where nothing is."""
    if valid is not None:
        e = jnp.where(valid[..., None], e, jnp.finfo(e.dtype).min)
    highest = jax.lax.stop_gradient(e.max(0, initial=jnp.finfo(e.dtype).min))
    weights = silence(valid, jnp.exp(e - highest[None]))
    total = weights.sum(0)
    return weights / jnp.where(total == 0, 1, total)[None]


def check_widths(where: str, scores: Scores, heads: int, query: int, memory: int) -> None:
    """Checks the widths of query and memory against what scores and heads allow."""
    if memory % heads:
        raise ValueError(f"{where}: heads is {heads}, expected a divisor of {memory}, the width of the memory")
    if scores in ("dot", "scaled") and query != memory:
        raise checks.ShapeError(
            f"{where}: scores is {scores!r} with queries of {query} features and a memory of {memory}, expected "
            'equally many; "general" and "additive" take any'
        )


def check_memory(
    where: str, name: str, memory: Any, batch: tuple[int, ...], because: str, features: int | None = None
) -> None:
    """Checks a `Memory` for inputs with these batch axes."""
    if not isinstance(memory, Memory):
        found = f"an array of shape {memory.shape}" if hasattr(memory, "shape") else checks.spelled(memory)
        raise checks.ShapeError(f"{where}: {name} is {found}, expected a Memory(values, valid)")
    values = checks.floating(where, f"{name}.values", memory.values, 2, "[S, *batch, D]")
    wanted = (values.shape[0], *batch, values.shape[-1] if features is None else features)
    checks.check_shape(where, f"{name}.values", values, wanted, because)
    if memory.valid is not None:
        checks.check_flags(where, f"{name}.valid", memory.valid, values.shape[:-1], f"{name}.values of {values.shape}")
