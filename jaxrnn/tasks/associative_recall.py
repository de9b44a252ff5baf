"""Multi-query associative recall: pairs of keys and values, then the keys again."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.types import Array


@checked
def associative_recall(
    key: Array, batch: int, length: int, *, pairs: int = 8, keys: int = 64, values: int = 64, power: float = 0.01
) -> tuple[Array, Array, Array]:
    """Draws pairs of a key and a value, and then each key once more; the target at this step is the key's value.

    MQAR of Arora et al. 2023, "Zoology: measuring and improving recall in efficient language models" (arXiv
    2312.04927). The first `2 pairs` steps alternate between keys and values, all different. After them each key stands
    at a random even step, sooner rather than later: a gap of i pairs of steps has a weight of `i ** (power - 1)`.
    Blanks fill the other steps. Okpekpe & Orvieto 2025 (arXiv 2508.19029) find that recurrent models learn it in a
    narrow band of learning rates.

    Chance: an accuracy of `1 / values`, or of `1 / pairs` for a model that knows which values occurred and not to which
    keys they belong. Best: 1.

    Args:
      key: a PRNG key.
      batch: B, the number of sequences.
      length: the number of steps, `4 pairs` or more.
      pairs: how many pairs there are to remember, at most `keys` and at most `values`.
      keys: the size of the alphabet of keys.
      values: the size of the alphabet of values.
      power: decides how soon the keys come again; 1 makes all steps equally likely, and 0.01 is the paper's.

    Returns:
      `(inputs, targets, mask)`: inputs int32 `[length, B]`, with 0 for a blank, keys from 1 to `keys`, and values from
      `keys + 1` to `keys + values`; targets int32 `[length, B]`, the value at the scored steps and 0 elsewhere; mask
      bool `[length, B]`, True where a key comes again, `pairs` times in each sequence.

    Raises:
      ValueError: a size is not a positive int; more pairs than keys or values; `length` is below `4 pairs`.

    Example:
      >>> import jax, jaxrnn
      >>> recall = jaxrnn.tasks.associative_recall
      >>> inputs, targets, mask = recall(jax.random.key(0), 1, 10, pairs=2, keys=4, values=4)
      >>> inputs[:, 0].tolist(), targets[:, 0].tolist()
      ([1, 7, 3, 8, 1, 0, 3, 0, 0, 0], [0, 0, 0, 0, 7, 0, 8, 0, 0, 0])
    """
    for name, most in (("keys", keys), ("values", values)):
        if pairs > most:
            raise ValueError(f"associative_recall: pairs is {pairs}, expected {most} or less, the number of {name}")
    checks.check_at_least(
        "associative_recall", "length", length, 4 * pairs, f"two steps for each of {pairs} pairs and two for its query"
    )
    k_keys, k_values, k_gaps = jax.random.split(key, 3)
    asked = 1 + _different(k_keys, jnp.zeros(keys), pairs, batch)
    answers = 1 + keys + _different(k_values, jnp.zeros(values), pairs, batch)
    gaps = jnp.arange(1, (length - 2 * pairs) // 2 + 1, dtype=jnp.float32)
    steps = 2 * pairs + 2 * _different(k_gaps, (power - 1) * jnp.log(gaps), pairs, batch)
    rows = jnp.arange(batch)[None]
    blank = jnp.zeros((length, batch), jnp.int32)
    inputs = blank.at[: 2 * pairs : 2].set(asked).at[1 : 2 * pairs : 2].set(answers).at[steps, rows].set(asked)
    return inputs, blank.at[steps, rows].set(answers), blank.astype(bool).at[steps, rows].set(True)


def _different(key: Array, log_weights: Array, count: int, batch: int) -> Array:
    """Draws `count` different indices for each sequence, one after another by their weights: int32 `[count, batch]`."""
    noise = jax.random.gumbel(key, (batch, len(log_weights)), jnp.float32)
    return jax.lax.top_k(log_weights.astype(jnp.float32)[None] + noise, count)[1].T.astype(jnp.int32)
