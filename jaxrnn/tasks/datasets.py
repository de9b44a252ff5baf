"""Data sets of sequences for which there are published figures; none is downloaded when it is loaded."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from jaxrnn.tasks.characters import help_topics, numbered, tenth_before_the_end


class Recordings(NamedTuple):
    """Sequences of one length or of several, each with one class.

    Attributes:
      inputs: float32 `[T, N, D]`, 0 after the end of a sequence.
      lengths: the valid steps of each, int32 `[N]`.
      classes: int32 `[N]`, counted from 0.
    """

    inputs: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray


class Classification(NamedTuple):
    """Sequences to classify, in the parts that published figures are of.

    Attributes:
      train: to learn from.
      test: to be scored on.
      chance: the accuracy of a guess that does not look at the sequence.
    """

    train: Recordings
    test: Recordings
    chance: float


class Characters(NamedTuple):
    """A text whose next character is to be predicted.

    Attributes:
      train: the characters to learn from, as indices into the vocabulary, int32 `[N]`.
      test: those that follow, which are held out, int32 `[M]`.
      vocabulary: the characters of both parts, in the order of their code points.
      chance: the bits per character of a model that finds all of them equally likely, log₂ of their number.
    """

    train: np.ndarray
    test: np.ndarray
    vocabulary: str
    chance: float


def mnist1d() -> Classification:
    """Generates MNIST-1D: curves that stand for ten digits, moved, stretched, sheared and noisy.

    Greydanus & Kobak 2024, "Scaling down deep learning with MNIST-1D" (arXiv 2011.14439). It is what the package
    `mnist1d` generates from its own settings and seed: 4,000 sequences to learn from and 1,000 to be scored on, of 40
    numbers, with a mean of 0 and a variance of 1 over both parts. The package's file is not downloaded.

    Chance: an accuracy of 0.1. Published: 0.32 for logistic regression, 0.91 for a bidirectional GRU of about 5,000
    parameters, 0.94 for a convolutional network, 0.96 for a person.

    Returns:
      A `Classification` with inputs `[40, N, 1]` and classes 0 to 9.

    Raises:
      ImportError: the package `mnist1d`, or one that it needs, is not installed.

    Example:
      >>> import jaxrnn
      >>> data = jaxrnn.tasks.mnist1d()
      >>> data.train.inputs.shape, data.test.inputs.shape, data.chance
      ((40, 4000, 1), (40, 1000, 1), 0.1)
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ModuleNotFoundError as error:
        raise _missing("mnist1d", error) from None
    with _global_randomness():
        made = make_dataset(get_dataset_args())

    def part(ending: str) -> Recordings:
        inputs = np.ascontiguousarray(made[f"x{ending}"].T[..., None], np.float32)
        lengths = np.full(inputs.shape[1], inputs.shape[0], np.int32)
        return Recordings(inputs, lengths, made[f"y{ending}"].astype(np.int32))

    return Classification(part(""), part("_test"), 1 / 10)


def japanese_vowels() -> Classification:
    """Reads JapaneseVowels: nine men who say the vowels /ae/, to be told apart.

    Kudo, Toyama & Shimbo 1999, "Multidimensional curve classification using passing-through regions". The package
    `aeon` has the data. A step has the 12 cepstral coefficients of a short piece of speech, unscaled: their means and
    variances differ, so scale them by those of the valid steps in `train`.

    Chance: an accuracy of 1/9. In `test` speakers are not equally frequent, and one of them has 88 of 370 sequences.
    Published: 0.941 in the paper.

    Returns:
      A `Classification` with inputs `[29, N, 12]`, lengths from 7 to 29 and classes 0 to 8: 270 sequences to learn
      from, 30 of each speaker, and 370 to be scored on.

    Raises:
      ImportError: the package `aeon`, or one that it needs, is not installed.

    Example:
      >>> import jaxrnn
      >>> data = jaxrnn.tasks.japanese_vowels()
      >>> data.train.inputs.shape, data.test.inputs.shape, data.train.lengths[:4].tolist()
      ((29, 270, 12), (29, 370, 12), [20, 26, 22, 20])
    """
    try:
        from aeon.datasets import load_japanese_vowels
    except ModuleNotFoundError as error:
        raise _missing("japanese_vowels", error) from None
    series = {split: load_japanese_vowels(split=split) for split in ("train", "test")}
    longest = max(one.shape[1] for sequences, _ in series.values() for one in sequences)

    def part(split: str) -> Recordings:
        sequences, speakers = series[split]
        inputs = np.stack([np.pad(one, [(0, 0), (0, longest - one.shape[1])]).T for one in sequences], 1)
        lengths = np.array([one.shape[1] for one in sequences], np.int32)
        return Recordings(inputs.astype(np.float32), lengths, speakers.astype(np.int32) - 1)

    return Classification(part("train"), part("test"), 1 / 9)


def text() -> Characters:
    """Returns the text on which `python -m jaxrnn` trains by default: the help topics of Python, in English.

    Nothing has to be installed. The text differs between versions of Python: the one of 3.11 has 465,048 characters,
    103 of them different. The last tenth is held out.

    Chance: log₂ of the number of different characters, 6.69 bits per character in 3.11. The command line shows what
    n-gram models and recurrent networks reach.

    Returns:
      A `Characters`.

    Example:
      >>> import jaxrnn
      >>> data = jaxrnn.tasks.text()
      >>> "".join(data.vocabulary[i] for i in data.train[:24])
      'The "assert" statement\\n*'
    """
    vocabulary, ids = numbered(help_topics())
    train, test = np.split(ids, [tenth_before_the_end(len(ids))])
    return Characters(train, test, vocabulary, float(np.log2(len(vocabulary))))


def _missing(where: str, error: ModuleNotFoundError) -> ImportError:
    name = (error.name or "").partition(".")[0]
    said = f"{where}: the package {name} is not installed; pip install 'jaxrnn[tasks]' brings it"
    return ImportError(said, name=name)


@contextmanager
def _global_randomness() -> Iterator[None]:
    """Puts the global generators of Python and NumPy back as they were; `mnist1d` seeds both."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
