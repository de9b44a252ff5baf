"""Reads a text as numbers, splits it, and cuts it into windows."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxrnn.cli.problem import Problem
from jaxrnn.tasks.characters import help_topics, numbered, tenth_before_the_end

SCORED = 50_000  # the held-out characters that a run is scored on at most: a run does so again and again
SHORTEST = 100


class Given(NamedTuple):
    """A text that the user has given: its name, for people, and its characters."""

    name: str
    characters: str

    @property
    def sha256(self) -> str:
        """Returns the digest of its UTF-8 bytes."""
        return hashlib.sha256(self.characters.encode()).hexdigest()


class Corpus(NamedTuple):
    """A text, split into a part to learn from and a held-out part.

    Attributes:
      name: the text's, for people.
      sha256: the digest of its UTF-8 bytes.
      vocabulary: the characters of both parts, in order.
      ids: both parts as indices into the vocabulary, int32 `[N]`.
      split: the first held-out index.
      valid: the name of the held-out text; None: the last tenth of the text is held out.
      valid_sha256: the digest of the held-out text; None without one.
    """

    name: str
    sha256: str
    vocabulary: str
    ids: np.ndarray
    split: int
    valid: str | None = None
    valid_sha256: str | None = None

    @property
    def training(self) -> np.ndarray:
        """Returns the characters before the split."""
        return self.ids[: self.split]

    @property
    def held_out(self) -> np.ndarray:
        """Returns the characters from the split on, and one before them, the context of the first."""
        return self.ids[self.split - 1 :]

    @property
    def scored(self) -> "Corpus":
        """Returns this text up to the last held-out character that a run is scored on."""
        return self._replace(ids=self.ids[: self.split + SCORED])

    @property
    def length(self) -> int:
        """Returns the number of characters of the text, without those of another text that is held out."""
        return len(self.ids) if self.valid is None else self.split

    @property
    def size(self) -> int:
        """Returns the size of the vocabulary."""
        return len(self.vocabulary)


def read(path: str | None, valid: str | None = None) -> Corpus:
    """Returns the corpus of a UTF-8 file, or of Python's help topics, in English, without a path.

    Args:
      path: of the text.
      valid: path of the text to hold out; None: the last tenth of the first.
    """
    return corpus(topics() if path is None else file("--text", path), None if valid is None else file("--valid", valid))


def topics() -> Given:
    """Returns Python's help topics."""
    return Given("the help topics of Python's pydoc", help_topics())


def file(flag: str, path: str) -> Given:
    """Returns the text of a UTF-8 file that a flag has named; a byte-order mark is not part of it."""
    try:
        with open(path, "rb") as opened:
            data = opened.read()
    except (OSError, ValueError) as error:  # a null character in the path raises a ValueError
        reason = getattr(error, "strerror", None) or error
        raise Problem(f"{flag} {path}: cannot be read ({reason}); name a readable UTF-8 text file") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Problem(
            f"{flag} {path}: byte {error.start:,} is not UTF-8; convert the file first, with iconv -t UTF-8 for one"
        ) from None
    return Given(path, text.removeprefix("\N{BYTE ORDER MARK}"))


def corpus(text: Given, valid: Given | None = None) -> Corpus:
    """Numbers the characters of a text and holds out its last tenth, or another text.

    Example:
      >>> c = corpus(Given("alphabet", "abc" * 100))
      >>> c.vocabulary, c.split
      ('abc', 270)
    """
    for flag, given in (("--text", text), ("--valid", valid)):
        if given is not None and (length := len(given.characters)) < SHORTEST:
            raise Problem(
                f"{flag} {given.name}: has {length} characters, expected {SHORTEST} or more; give a longer text"
            )
    learned, held_out = len(text.characters), "" if valid is None else valid.characters
    vocabulary, ids = numbered(text.characters + held_out)
    return Corpus(
        name=text.name,
        sha256=text.sha256,
        vocabulary=vocabulary,
        ids=ids,
        split=tenth_before_the_end(learned) if valid is None else learned,
        valid=None if valid is None else valid.name,
        valid_sha256=None if valid is None else valid.sha256,
    )


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
