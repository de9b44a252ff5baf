"""Turns text into indices of a vocabulary, a str of different characters in order of their code points, and back."""

from collections import Counter

import numpy as np

from jaxrnn.cli.problem import Problem
from jaxrnn.tasks.characters import points


def indices(vocabulary: str, text: str) -> np.ndarray:
    """Returns the characters of `text` as indices into `vocabulary`, int32 `[len(text)]`; −1: it lacks the character.

    Example:
      >>> indices("abc", "cab!")
      array([ 2,  0,  1, -1], dtype=int32)
    """
    known, wanted = points(vocabulary), points(text)
    places = np.searchsorted(known, wanted)
    found = known[np.minimum(places, len(known) - 1)] == wanted
    return np.where(found, places, -1).astype(np.int32)


def known(vocabulary: str, text: str) -> tuple[np.ndarray, Counter[str]]:
    """Returns the indices of all characters of `text` that `vocabulary` has, and counts of the others.

    Example:
      >>> known("abc", "cab!!")
      (array([2, 0, 1], dtype=int32), Counter({'!': 2}))
    """
    found = indices(vocabulary, text)
    kinds, counts = np.unique(points(text)[found < 0], return_counts=True)
    return found[found >= 0], Counter(dict(zip(map(chr, kinds.tolist()), counts.tolist(), strict=True)))


def prompted(vocabulary: str, prompt: str) -> np.ndarray:
    """Returns a prompt as indices; an empty one is the end of a line, or else a space or the first character."""
    if not prompt:
        return indices(vocabulary, next(c for c in ("\n", " ", vocabulary[0]) if c in vocabulary))
    found = indices(vocabulary, prompt)
    if (found < 0).any():
        listed = ", ".join(map(repr, sorted(set(prompt) - set(vocabulary))))
        characters = "".join(c for c in vocabulary if c.isprintable())
        raise Problem(f"--prompt has {listed}, which the text has not; use its own characters: {characters}")
    return found
