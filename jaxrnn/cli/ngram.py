"""Scores a text by interpolated Witten–Bell n-gram models, as baselines."""

import numpy as np


def witten_bell(ids: np.ndarray, split: int, size: int, orders: int = 5, *, begin: int | None = None) -> list[float]:
    """Returns bits per symbol of `ids[begin:]` under models of order 1 … `orders` of `ids[:split]`.

    `P(w | h) = (c(h w) + T(h) P(w | h')) / (c(h) + T(h))`, where `c` counts, `T(h)` is the number of different symbols
    that followed `h`, and `h'` is `h` without its oldest symbol; below order 1 every symbol has `1 / size`. After an
    `h` that was never seen, `P(w | h')` stands alone (Witten & Bell 1991, method C, interpolated as in Chen & Goodman
    1999, "An empirical study of smoothing techniques for language modeling").

    Args:
      ids: symbols, int `[N]` in `[0, size)`.
      split: where the held-out part begins; the symbols before it are its first contexts.
      size: the vocabulary's.
      orders: the longest n-gram.
      begin: the first symbol that is scored; `split` if None.

    Raises:
      ValueError: one of the two parts is too short, or `begin` is not in the held-out part.

    Example:
      >>> import numpy as np
      >>> [round(bits, 3) for bits in witten_bell(np.array([0, 1] * 50), split=90, size=2, orders=2)]
      [1.0, 0.016]
    """
    if not orders <= split < len(ids):
        raise ValueError(f"witten_bell: split is {split}, expected {orders} ≤ split < {len(ids)}: give a longer text")
    begin = split if begin is None else begin
    if not split <= begin < len(ids):
        raise ValueError(
            f"witten_bell: begin is {begin}, expected {split} ≤ begin < {len(ids)}: score held-out symbols"
        )
    held_out, bits = slice(split, None), []
    probability = np.full(len(ids) - split, 1 / size)
    contexts = np.zeros(len(ids), np.int64)
    for order in range(orders):
        # The code of an n-gram is its rank among those that occur, so that no code overflows.
        codes, grams = np.unique(contexts * size + ids, return_inverse=True)
        seen = slice(order, split)
        count = np.bincount(grams[seen], minlength=len(codes))
        total = np.bincount(contexts[seen], minlength=contexts.max() + 1)
        kinds = np.bincount(codes[count > 0] // size, minlength=len(total))
        g, h = grams[held_out], contexts[held_out]
        known = total[h] > 0
        np.divide(count[g] + kinds[h] * probability, total[h] + kinds[h], out=probability, where=known)
        bits.append(float(-np.log2(probability[begin - split :]).mean()))
        contexts = np.concatenate([[0], grams[:-1]])
    return bits
