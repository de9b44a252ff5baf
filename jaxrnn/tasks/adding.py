"""The adding problem: two marked numbers, far apart, and their sum."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.types import Array


@checked
def adding(key: Array, batch: int, length: int) -> tuple[Array, Array, Array]:
    """Draws sequences of numbers, two of which are marked; the target at the last step is the sum of these two.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", in the form of Arjovsky, Shah & Bengio 2016, "Unitary
    evolution recurrent neural networks": numbers are uniform in [0, 1), one mark is at a uniform step of the first
    half and one at a uniform step of the second.

    Chance: a mean squared error of 1/6 ≈ 0.167, the variance of the sum, for always predicting 1. Best: 0.

    Args:
      key: a PRNG key.
      batch: B, the number of sequences.
      length: T, the number of steps; 2 or more.

    Returns:
      `(inputs, targets, mask)`: inputs float32 `[T, B, 2]`, a number and its mark, 0 or 1; targets float32 `[T, B, 1]`,
      the sum at the last step and 0 before; mask bool `[T, B]`, True at the last step.

    Raises:
      ValueError: `batch` is not a positive int; `length` is below 2.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.adding(jax.random.key(0), batch=2, length=200)
      >>> inputs.shape, targets.shape, mask.sum().item()
      ((200, 2, 2), (200, 2, 1), 2)
    """
    checks.check_at_least("adding", "length", length, 2, "one step for each mark")
    k_numbers, k_first, k_second = jax.random.split(key, 3)
    numbers = jax.random.uniform(k_numbers, (length, batch), jnp.float32)
    first = jax.random.randint(k_first, (batch,), 0, length // 2)
    second = jax.random.randint(k_second, (batch,), length // 2, length)
    steps = jnp.arange(length)[:, None]
    marks = (steps == first[None]) | (steps == second[None])
    last = jnp.broadcast_to(steps == length - 1, (length, batch))
    total = jnp.where(marks, numbers, 0).sum(0)  # every other term is 0, so this is one exactly rounded addition
    inputs = jnp.stack([numbers, marks.astype(jnp.float32)], -1)
    return inputs, jnp.where(last, total, 0)[..., None], last
