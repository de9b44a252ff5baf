"""Turns characters into numbers, and has an English text that every Python brings along."""

import numpy as np

HELD_OUT = 10  # the last tenth of a text is held out


def help_topics() -> str:
    """Returns the help topics of Python's pydoc; they differ between versions of Python."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def tenth_before_the_end(length: int) -> int:
    """Returns the index at which the held-out part of a text begins."""
    return length - length // HELD_OUT


def points(text: str) -> np.ndarray:
    """Returns the code points of `text`, uint32 `[len(text)]`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def numbered(text: str) -> tuple[str, np.ndarray]:
    """Returns the different characters of a text in the order of their code points, and their indices, int32.

    Example:
      >>> numbered("cab!a")
      ('!abc', array([3, 1, 2, 0, 1], dtype=int32))
    """
    symbols, ids = np.unique(points(text), return_inverse=True)
    return "".join(map(chr, symbols)), ids.astype(np.int32)
