"""Defines what kernels that loop over chunks of time read and write: arrays by step, and arrays by chunk."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from jaxrnn.types import Array


class Parts(NamedTuple):
    """Arrays of each step and of each chunk; a body has the ones of one chunk of one head.

    Attributes:
      steps: a pytree of `[T, heads, W]`, in a body `[C, W]`.
      chunks: a pytree of `[heads, chunks, A, B]`, in a body `[A, B]`.
    """

    steps: Any
    chunks: Any


# `(fixed, carry, given) -> (carry, made)`, with arrays of two axes.
Body = Callable[[Any, Any, Parts], tuple[Any, Parts]]

# `(body, fixed, carry, given, *, total, size, reverse, name) -> (carry, made)` runs `body` over the chunks of `total`
# steps, `size` steps each; a shorter last chunk is filled with zeros. Arrays of `fixed` and `carry` have the shape
# `[heads, A, B]`, and a body has those of its head.
Scan = Callable[..., tuple[Any, Parts]]


def made_by(body: Body, fixed: Any, carry: Any, given: Parts, total: int, size: int) -> Parts:
    """Returns the shapes of the arrays that a loop over chunks makes."""
    heads = jax.tree.leaves(carry)[0].shape[0]

    def shaped(shape: Callable[[Array], tuple[int, ...]], tree: Any) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(shape(a), a.dtype), tree)

    last_two = partial(shaped, lambda a: a.shape[-2:])
    one = Parts(shaped(lambda a: (size, a.shape[2]), given.steps), last_two(given.chunks))
    _, made = jax.eval_shape(body, last_two(fixed), last_two(carry), one)
    count = -(-total // size)
    steps = shaped(lambda a: (total, heads, a.shape[1]), made.steps)
    return Parts(steps, shaped(lambda a: (heads, count, *a.shape), made.chunks))
