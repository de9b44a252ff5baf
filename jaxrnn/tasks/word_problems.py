"""Word problems of permutation groups: the product of all permutations so far."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.options import checked
from jaxrnn.types import Array


@checked
def s3(key: Array, batch: int, length: int) -> tuple[Array, Array, Array]:
    """Draws words of permutations of 3 things; the target at each step is the product of all permutations so far.

    Permutations are numbered in lexicographic order, so 0 is the identity; the first in time acts first. Merrill, Petty
    & Sabharwal 2024, "The illusion of state in state-space models" (arXiv 2404.08819), and Siems et al. 2025,
    "DeltaProduct" (arXiv 2502.10297), which score every step. The group is solvable: two layers of reflections, as
    of a delta rule with eigenvalues down to −1, or one with products of two Householder matrices, can follow it, and
    a single layer of a diagonal recurrence cannot.

    Chance: an accuracy of 1/6, a cross-entropy of log 6. Best: 1 and 0.

    Args:
      key: a PRNG key.
      batch: B, the number of words.
      length: T, the number of steps.

    Returns:
      `(inputs, targets, mask)`: inputs and targets int32 `[T, B]`, 0 to 5; mask bool `[T, B]`, True everywhere.

    Raises:
      ValueError: a size is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.s3(jax.random.key(0), batch=1, length=8)
      >>> inputs[:, 0].tolist(), targets[:, 0].tolist()
      ([1, 0, 2, 1, 5, 3, 0, 5], [1, 1, 3, 5, 0, 3, 3, 2])
    """
    return _word(key, batch, length, 3)


@checked
def s5(key: Array, batch: int, length: int) -> tuple[Array, Array, Array]:
    """Draws words of permutations of 5 things; the target at each step is the product of all permutations so far.

    As `s3`, of the smallest group of this kind that is not solvable: its word problem is complete for NC¹, so that no
    diagonal linear recurrence of fixed depth solves it at all lengths, unless TC⁰ = NC¹ (Merrill, Petty & Sabharwal
    2024, "The illusion of state in state-space models", arXiv 2404.08819). Siems et al. 2025, "DeltaProduct" (arXiv
    2502.10297), follow it with products of four Householder matrices.

    Chance: an accuracy of 1/120, a cross-entropy of log 120. Best: 1 and 0.

    Args:
      key: a PRNG key.
      batch: B, the number of words.
      length: T, the number of steps.

    Returns:
      `(inputs, targets, mask)`: inputs and targets int32 `[T, B]`, 0 to 119; mask bool `[T, B]`, True everywhere.

    Raises:
      ValueError: a size is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.s5(jax.random.key(0), batch=1, length=8)
      >>> inputs[0, 0] == targets[0, 0], mask.all()
      (Array(True, dtype=bool), Array(True, dtype=bool))
    """
    return _word(key, batch, length, 5)


def _word(key: Array, batch: int, length: int, things: int) -> tuple[Array, Array, Array]:
    table = jnp.asarray(_products(things))
    word = jax.random.randint(key, (length, batch), 0, len(table), jnp.int32)

    def act(product: Array, letter: Array) -> tuple[Array, Array]:
        product = table[letter, product]
        return product, product

    _, products = jax.lax.scan(act, jnp.zeros(batch, jnp.int32), word)
    return word, products, jnp.ones((length, batch), bool)


def _products(things: int) -> np.ndarray:
    """Returns the table of a symmetric group: entry `[a, b]` is the number of "first b, then a"."""
    every = np.array(list(permutations(range(things))))
    places = things ** np.arange(things)[::-1]  # of the digits, so that the order of numbers is the lexicographic one
    composed = every[:, every]  # [a, b, thing] = a[b[thing]]
    return np.searchsorted(every @ places, composed @ places).astype(np.int32)
