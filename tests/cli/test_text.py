"""A text as numbers: vocabulary, split, and windows that follow one another."""

import hashlib

import numpy as np
import pytest

from jaxrnn.cli import text
from jaxrnn.cli.problem import Problem


def test_the_default_text_is_pinned_by_its_hash() -> None:
    from pydoc_data.topics import topics

    corpus = text.read(None)
    whole = "".join(corpus.vocabulary[i] for i in corpus.ids)
    assert hashlib.sha256(whole.encode()).hexdigest() == corpus.sha256
    assert all(topic in whole for topic in topics.values())


def test_numbers_give_the_text_back() -> None:
    written = "ẞ a\r\n😀 ä" * 20
    corpus = text.corpus("small", written)
    assert "".join(corpus.vocabulary[i] for i in corpus.ids) == written
    assert corpus.encode("😀a") == [corpus.vocabulary.index("😀"), corpus.vocabulary.index("a")]


def test_the_last_tenth_is_held_out_with_one_character_of_context() -> None:
    corpus = text.corpus("digits", "0123456789" * 20)
    assert len(corpus.training) == 180
    np.testing.assert_array_equal(corpus.held_out, [9, *[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 2])


@pytest.mark.parametrize(("written", "first"), [("b\na" * 40, "\n"), ("ba" * 60, "b")])
def test_a_sample_opens_with_a_line(written: str, first: str) -> None:
    corpus = text.corpus("small", written)
    assert [corpus.vocabulary[i] for i in corpus.opening] == [first]


def test_each_row_of_a_window_goes_on_where_it_was_in_the_window_before() -> None:
    ids = np.random.default_rng(0).integers(0, 100, 101).astype(np.int32)
    window = text.windows(ids, batch=3, length=7)
    rows = [np.concatenate([window(step)[:-1, row] for step in range(20)]) for row in range(3)]
    for row, read in enumerate(rows):
        np.testing.assert_array_equal(read, np.roll(np.tile(ids, 2), -33 * row)[:140])
    for step in range(20):
        np.testing.assert_array_equal(window(step)[-1], window(step + 1)[0])


def test_a_prompt_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(Problem, match=r"--prompt has '\?', 'x', which the text has not; use its own characters: ab"):
        text.corpus("small", "ab\n" * 50).encode("ax?")
