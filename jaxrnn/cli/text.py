"""Reads a text as numbers, splits it, and cuts it into windows."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxrnn.cli.problem import Problem

HELD_OUT = 10  # the last tenth is held out
SHORTEST = 100


class Corpus(NamedTuple):
    """A text, split.

    Attributes:
      name: the text's, for people.
      sha256: the digest of its UTF-8 bytes.
      vocabulary: its characters, in order.
      ids: the text as indices into the vocabulary, int32 `[N]`.
      split: the first held-out index.
    """

    name: str
    sha256: str
    vocabulary: str
    ids: np.ndarray
    split: int

    @property
    def training(self) -> np.ndarray:
        """Returns the characters before the split."""
        return self.ids[: self.split]

    @property
    def held_out(self) -> np.ndarray:
        """Returns the characters from the split on, and one before them, the context of the first."""
        return self.ids[self.split - 1 :]

    @property
    def size(self) -> int:
        """Returns the size of the vocabulary."""
        return len(self.vocabulary)

    @property
    def opening(self) -> list[int]:
        """Returns the default context of a sample: the end of a line, or else the text's first character."""
        return [self.vocabulary.index("\n") if "\n" in self.vocabulary else int(self.ids[0])]

    def encode(self, text: str) -> list[int]:
        """Returns `text` as indices into the vocabulary."""
        if unknown := sorted(set(text) - set(self.vocabulary)):
            known = "".join(c for c in self.vocabulary if c.isprintable())
            listed = ", ".join(map(repr, unknown))
            raise Problem(f"--prompt has {listed}, which the text has not; use its own characters: {known}")
        return [self.vocabulary.index(c) for c in text]


def read(path: str | None) -> Corpus:
    """Returns the corpus of a UTF-8 file, or of Python's help topics, in English, without a path."""
    if path is None:
        from pydoc_data.topics import topics

        return corpus("the help topics of Python's pydoc", "\n".join(topics.values()))
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # a null character in the path raises a ValueError
        reason = getattr(error, "strerror", None) or error
        raise Problem(f"--text {path}: cannot be read ({reason}); name a readable UTF-8 text file") from None
    try:
        return corpus(path, data.decode())
    except UnicodeDecodeError as error:
        raise Problem(
            f"--text {path}: byte {error.start:,} is not UTF-8; convert the file first, with iconv -t UTF-8 for one"
        ) from None


def corpus(name: str, text: str) -> Corpus:
    """Numbers the characters of `text` and holds out its last tenth.

    Example:
      >>> c = corpus("alphabet", "abc" * 100)
      >>> c.vocabulary, c.split, c.encode("cab")
      ('abc', 270, [2, 0, 1])
    """
    if len(text) < SHORTEST:
        raise Problem(f"--text {name}: has {len(text)} characters, expected {SHORTEST} or more; give a longer text")
    symbols, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    vocabulary = "".join(map(chr, symbols))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Corpus(name, digest, vocabulary, ids.astype(np.int32), len(ids) - len(ids) // HELD_OUT)


def windows(ids: np.ndarray, batch: int, length: int) -> Callable[[int], np.ndarray]:
    """Cuts a text into windows for training with a carry from window to window.

    The text is a ring with `batch` readers at equal distances, each of which continues where it was, so that example
    `b` of a window follows example `b` of the previous window.

    Args:
      ids: int32 `[N]`.
      batch: the number of readers.
      length: the characters that each reads in a step.

    Returns:
      `window(step)`, int32 `[length + 1, batch]`: inputs, and targets one step later.

    Example:
      >>> import numpy as np
      >>> window = windows(np.arange(10), batch=2, length=3)
      >>> window(0)[:, 0], window(1)[:, 0], window(1)[:, 1]
      (array([0, 1, 2, 3]), array([3, 4, 5, 6]), array([8, 9, 0, 1]))
    """
    first = np.arange(length + 1)[:, None] + np.arange(batch) * (len(ids) // batch)

    def window(step: int) -> np.ndarray:
        return ids[(first + step * length) % len(ids)]

    return window
