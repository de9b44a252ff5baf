"""Counting the ones in a string of bits, modulo 2 and modulo any number."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.types import Array


@checked
def parity(key: Array, batch: int, length: int) -> tuple[Array, Array, Array]:
    """Draws strings of bits; the target at each step is whether the number of ones so far is odd.

    Grazzi et al. 2025, "Unlocking state-tracking in linear RNNs through negative eigenvalues" (arXiv 2411.12537): a
    linear recurrence whose eigenvalues are all in [0, 1] cannot solve it at all lengths, one with an eigenvalue of −1
    can. They train on lengths up to 40 and test up to 256.

    Chance: an accuracy of 1/2, a cross-entropy of log 2. Best: 1 and 0.

    Args:
      key: a PRNG key.
      batch: B, the number of strings.
      length: T, the number of steps.

    Returns:
      `(inputs, targets, mask)`: inputs and targets int32 `[T, B]`, 0 or 1; mask bool `[T, B]`, True everywhere.

    Raises:
      ValueError: a size is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.parity(jax.random.key(0), batch=1, length=8)
      >>> inputs[:, 0].tolist(), targets[:, 0].tolist()
      ([0, 0, 1, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 1, 0, 0])
    """
    return _counted(key, batch, length, 2)


@checked
def modular_counting(key: Array, batch: int, length: int, *, modulus: int = 3) -> tuple[Array, Array, Array]:
    """Draws strings of bits; the target at each step is the number of ones so far, modulo `modulus`.

    Grazzi et al. 2025, "Unlocking state-tracking in linear RNNs through negative eigenvalues" (arXiv 2411.12537): where
    `modulus` is no power of 2, one layer of a linear recurrence needs eigenvalues that are not real, or products of
    several Householder matrices.

    Chance: an accuracy of `1 / modulus` after many steps; the first targets are small and easier to guess. Best: 1.

    Args:
      key: a PRNG key.
      batch: B, the number of strings.
      length: T, the number of steps.
      modulus: the number of targets; 2 or more.

    Returns:
      `(inputs, targets, mask)`: inputs int32 `[T, B]`, 0 or 1; targets int32 `[T, B]`, 0 to `modulus - 1`; mask bool
      `[T, B]`, True everywhere.

    Raises:
      ValueError: a size is not a positive int; `modulus` is below 2.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.modular_counting(jax.random.key(0), batch=1, length=8)
      >>> inputs[:, 0].tolist(), targets[:, 0].tolist()
      ([0, 0, 1, 1, 0, 1, 1, 0], [0, 0, 1, 2, 2, 0, 1, 1])
    """
    checks.check_at_least("modular_counting", "modulus", modulus, 2, "every number is 0 modulo 1")
    return _counted(key, batch, length, modulus)


def _counted(key: Array, batch: int, length: int, modulus: int) -> tuple[Array, Array, Array]:
    bits = jax.random.bernoulli(key, 0.5, (length, batch)).astype(jnp.int32)
    return bits, jnp.cumsum(bits, 0, dtype=jnp.int32) % jnp.int32(modulus), jnp.ones((length, batch), bool)
