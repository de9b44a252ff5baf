"""Data sets: their shapes, and that they are what others have published figures of."""

import random
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxrnn import tasks
from jaxrnn.cli import text


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("a data set is downloaded")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.mark.every
@pytest.mark.usefixtures("no_network")
def test_mnist1d_is_that_of_the_package() -> None:
    """The numbers of its settings and seed, which were the same on Python 3.11 and 3.13.

    The global generators, which the package seeds, go on for others as if it had not.
    """
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    made = tasks.mnist1d()
    assert (random.random(), np.random.random()) == expected
    train, test = made.train, made.test
    assert (train.inputs.shape, test.inputs.shape, made.chance) == ((40, 4000, 1), (40, 1000, 1), 0.1)
    for part in (train, test):
        assert (part.inputs.dtype, part.lengths.dtype, part.classes.dtype) == (np.float32, np.int32, np.int32)
        assert part.lengths.shape == part.classes.shape == part.inputs.shape[1:2] and (part.lengths == 40).all()
    assert np.bincount(train.classes).tolist() == [398, 396, 411, 394, 394, 402, 401, 404, 402, 398]
    assert np.bincount(test.classes).tolist() == [102, 104, 89, 106, 106, 98, 99, 96, 98, 102]  # 500 of each in both
    assert train.classes[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    np.testing.assert_allclose(train.inputs[:4, 0, 0], [-0.33200568, -0.47191036, -0.7786971, -1.0097408], rtol=1e-5)
    np.testing.assert_allclose(test.inputs[:4, 0, 0], [-0.07877078, -0.2107317, -0.09175138, 0.28267112], rtol=1e-5)
    both = np.concatenate([train.inputs, test.inputs], 1).astype(float)
    assert abs(both.mean()) < 1e-6 and abs(both.std() - 1) < 1e-6


@pytest.mark.usefixtures("no_network")
def test_japanese_vowels_are_those_of_the_file() -> None:
    """Read here without the package: a line after `@data` has a row for each coefficient, then the speaker."""
    import aeon.datasets  # takes seconds, which every worker would spend to collect this file

    made = tasks.japanese_vowels()
    folder = Path(aeon.datasets.__file__).parent / "data" / "JapaneseVowels"
    assert made.chance == 1 / 9
    for part, name, count in ((made.train, "TRAIN", 270), (made.test, "TEST", 370)):
        lines = (folder / f"JapaneseVowels_{name}.ts").read_text().splitlines()
        rows = [line.split(":") for line in lines[lines.index("@data") + 1 :] if line]
        assert (part.inputs.shape, part.inputs.dtype) == ((29, count, 12), np.float32)
        assert (part.lengths.dtype, part.classes.dtype) == (np.int32, np.int32)
        assert part.classes.tolist() == [int(row[-1]) - 1 for row in rows]
        assert part.lengths.tolist() == [len(row[0].split(",")) for row in rows]
        for i, row in enumerate(rows):
            series = np.array([coefficient.split(",") for coefficient in row[:-1]], np.float32)
            np.testing.assert_array_equal(part.inputs[: part.lengths[i], i], series.T)
            assert not part.inputs[part.lengths[i] :, i].any()
    assert np.bincount(made.train.classes).tolist() == [30] * 9
    assert np.bincount(made.test.classes).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_the_text_is_that_of_the_command_line() -> None:
    made, corpus = tasks.text(), text.read(None)
    np.testing.assert_array_equal(made.train, corpus.training)
    np.testing.assert_array_equal(made.test, corpus.held_out[1:])  # which has one character of context before it
    assert made.train.dtype == made.test.dtype == np.int32
    assert made.vocabulary == corpus.vocabulary
    assert made.chance == np.log2(corpus.size)


@pytest.mark.parametrize(("name", "package"), [("mnist1d", "mnist1d.data"), ("japanese_vowels", "aeon.datasets")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = rf"^{name}: the package {package.split('.')[0]} is not installed; pip install 'jaxrnn\[tasks\]' brings it$"
    with pytest.raises(ImportError, match=said):
        getattr(tasks, name)()
