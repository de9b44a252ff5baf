"""Symbols that must be kept for a while and then written down: in one block, or scattered among blanks."""

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.types import Array


@checked
def copying(key: Array, batch: int, length: int, *, memory: int = 10, symbols: int = 8) -> tuple[Array, Array, Array]:
    """Draws sequences that begin with `memory` symbols, which are the targets at the last `memory` steps.

    Hochreiter & Schmidhuber 1997, "Long short-term memory", in the form of Arjovsky, Shah & Bengio 2016, "Unitary
    evolution recurrent neural networks". Between symbols and answers stand blanks, the last of which is a delimiter.
    The papers call the length of that gap T: their sequences have T + 20 steps, so `length = T + 20`.

    Chance: an accuracy of `1 / symbols` at the scored steps. The papers average the loss over all steps, where a model
    without memory, which writes blanks and then guesses, has a cross-entropy of `memory log(symbols) / length`: for
    the default alphabet `10 log 8 / (T + 20)`. Best: an accuracy of 1 and a loss of 0.

    Args:
      key: a PRNG key.
      batch: B, the number of sequences.
      length: the number of steps, `2 memory + 1` or more.
      memory: the number of symbols to keep.
      symbols: the size of their alphabet.

    Returns:
      `(inputs, targets, mask)`: inputs int32 `[length, B]`, with 0 for a blank, 1 to `symbols`, and `symbols + 1` for
      the delimiter; targets int32 `[length, B]`, 0 but for the answers, 1 to `symbols`; mask bool `[length, B]`, True
      at the last `memory` steps.

    Raises:
      ValueError: a size is not a positive int; `length` has no room for the symbols, the delimiter and the answers.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.copying(jax.random.key(0), batch=1, length=7, memory=2)
      >>> inputs[:, 0].tolist(), targets[:, 0].tolist()
      ([6, 1, 0, 0, 9, 0, 0], [0, 0, 0, 0, 0, 6, 1])
    """
    checks.check_at_least(
        "copying", "length", length, 2 * memory + 1, f"symbols, delimiter, answers at memory={memory}"
    )
    kept = jax.random.randint(key, (memory, batch), 1, symbols + 1, jnp.int32)
    inputs = jnp.zeros((length, batch), jnp.int32).at[:memory].set(kept).at[length - memory - 1].set(symbols + 1)
    return inputs, *_answered(kept, length)


@checked
def selective_copying(
    key: Array, batch: int, length: int, *, memory: int = 16, symbols: int = 14
) -> tuple[Array, Array, Array]:
    """Draws sequences with `memory` symbols at random steps, to be written in order at the last `memory` steps.

    Jing et al. 2019, "Gated orthogonal recurrent units", in the form of Gu & Dao 2023, "Mamba". Blanks fill the
    other steps, and each of the last `memory` steps has a marker that asks for the next answer. A model must decide by
    content what to keep: one that only counts steps fails.

    Chance: an accuracy of `1 / symbols`, a cross-entropy of `log(symbols)` at the scored steps. Best: 1 and 0.

    Args:
      key: a PRNG key.
      batch: B, the number of sequences.
      length: the number of steps, `2 memory` or more.
      memory: the number of symbols to keep.
      symbols: the size of their alphabet.

    Returns:
      `(inputs, targets, mask)`: inputs int32 `[length, B]`, with 0 for a blank, 1 to `symbols`, and `symbols + 1` for
      the marker; targets int32 `[length, B]`, 0 but for the answers, 1 to `symbols`; mask bool `[length, B]`, True at
      the last `memory` steps.

    Raises:
      ValueError: a size is not a positive int; `length` has no room for the symbols and the answers.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.selective_copying(jax.random.key(0), 1, 9, memory=2, symbols=8)
      >>> inputs[:, 0].tolist(), targets[:, 0].tolist()
      ([8, 2, 0, 0, 0, 0, 0, 9, 9], [0, 0, 0, 0, 0, 0, 0, 8, 2])
    """
    checks.check_at_least("selective_copying", "length", length, 2 * memory, f"symbols and answers at memory={memory}")
    k_kept, k_steps = jax.random.split(key)
    kept = jax.random.randint(k_kept, (memory, batch), 1, symbols + 1, jnp.int32)
    noise = jax.random.uniform(k_steps, (length - memory, batch), jnp.float32)
    steps = jnp.sort(jnp.argsort(noise, 0)[:memory], 0)  # a uniform choice without repetition, in order of time
    inputs = jnp.zeros((length, batch), jnp.int32).at[steps, jnp.arange(batch)[None]].set(kept)
    return inputs.at[length - memory :].set(symbols + 1), *_answered(kept, length)


def _answered(kept: Array, length: int) -> tuple[Array, Array]:
    """Returns targets and mask `[length, B]` where the answers `kept [memory, B]` are due at the last steps."""
    memory, batch = kept.shape
    targets = jnp.zeros((length, batch), jnp.int32).at[length - memory :].set(kept)
    return targets, jnp.broadcast_to(jnp.arange(length)[:, None] >= length - memory, (length, batch))
