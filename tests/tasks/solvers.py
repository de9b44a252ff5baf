"""Solves one sequence of each task from its inputs alone, in NumPy: targets, and the steps that are scored."""

from itertools import permutations
from typing import Any

import numpy as np

Solved = tuple[np.ndarray, np.ndarray]


def adding(xs: np.ndarray) -> Solved:
    first, second = xs[xs[:, 1] == 1, 0]
    targets = np.zeros((len(xs), 1), np.float32)
    targets[-1] = np.float64(first) + np.float64(second)
    return targets, np.arange(len(xs)) == len(xs) - 1


def copying(xs: np.ndarray, memory: int, symbols: int) -> Solved:
    """The symbols before the delimiter, written after it."""
    assert xs[-memory - 1] == symbols + 1 and (xs == symbols + 1).sum() == 1
    return _written([x for x in xs[: -memory - 1] if x != 0], len(xs))


def selective_copying(xs: np.ndarray, memory: int, symbols: int) -> Solved:
    assert (xs[-memory:] == symbols + 1).all() and (xs == symbols + 1).sum() == memory
    return _written([x for x in xs[:-memory] if x != 0], len(xs))


def _written(kept: list[int], length: int) -> Solved:
    return np.array([0] * (length - len(kept)) + kept), np.arange(length) >= length - len(kept)


def modular_counting(xs: np.ndarray, modulus: int = 2) -> Solved:
    count, targets = 0, []
    for bit in xs:
        count = (count + 1) % modulus if bit else count
        targets.append(count)
    return np.array(targets), np.ones(len(xs), bool)


def word(xs: np.ndarray, things: int) -> Solved:
    """Moves a row of things about, by each permutation in turn, and looks up where they are."""
    every = list(permutations(range(things)))
    matrices = np.eye(things, dtype=int)[np.array(every)]  # row i has its one at the image of i
    state, targets = np.eye(things, dtype=int), []
    for letter in xs:
        state = state @ matrices[letter]
        targets.append(every.index(tuple(state.argmax(1))))
    return np.array(targets), np.ones(len(xs), bool)


def associative_recall(xs: np.ndarray, pairs: int, keys: int, values: int) -> Solved:
    known: dict[Any, Any] = dict(zip(xs[: 2 * pairs : 2], xs[1 : 2 * pairs : 2], strict=True))
    assert len(known) == pairs and set(known) <= set(range(1, keys + 1))
    assert len(set(known.values())) == pairs and set(known.values()) <= set(range(keys + 1, keys + values + 1))
    targets = np.array([known[x] if t >= 2 * pairs and x else 0 for t, x in enumerate(xs)])
    assert sorted(xs[targets > 0]) == sorted(known)  # every key comes again, once
    return targets, targets > 0


def noisy_sine(xs: np.ndarray) -> Solved:
    """The recurrence of a sine, `x(t+1) = 2 cos(ω) x(t) − x(t−1)`, whose factor comes from all values but the last."""
    x = xs[:, 0].astype(float)
    factor = ((x[2:] + x[:-2]) @ x[1:-1]) / (x[1:-1] @ x[1:-1])
    return np.append(x[1:], factor * x[-1] - x[-2])[:, None], np.arange(len(xs)) >= 2


def irregular(xs: np.ndarray) -> Solved:
    """The sum of all impulses so far, each faded by the time since it came."""
    impulses, times = xs[:, 0].astype(float), np.cumsum(xs[:, 1].astype(float))
    targets = [impulses[: t + 1] @ np.exp(times[: t + 1] - times[t]) for t in range(len(xs))]
    return np.array(targets)[:, None], np.ones(len(xs), bool)
