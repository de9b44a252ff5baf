"""A text as numbers: vocabulary, split, and windows that follow one another."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from jaxrnn.cli import text, vocabulary
from jaxrnn.cli.problem import Problem


def test_the_default_text_is_pinned_by_its_hash() -> None:
    from pydoc_data.topics import topics

    corpus = text.read(None)
    whole = "".join(corpus.vocabulary[i] for i in corpus.ids)
    assert hashlib.sha256(whole.encode()).hexdigest() == corpus.sha256
    assert all(topic in whole for topic in topics.values())


def test_numbers_give_the_text_back() -> None:
    written = "ẞ a\r\n😀 ä" * 20
    corpus = text.corpus(text.Given("small", written))
    assert "".join(corpus.vocabulary[i] for i in corpus.ids) == written


def test_the_last_tenth_is_held_out_with_one_character_of_context() -> None:
    corpus = text.corpus(text.Given("digits", "0123456789" * 20))
    assert len(corpus.training) == 180
    np.testing.assert_array_equal(corpus.held_out, [9, *[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 2])


def test_another_text_may_be_held_out() -> None:
    """The vocabulary has the characters of both."""
    corpus = text.corpus(text.Given("digits", "0123456789" * 20), text.Given("letters", "9abc" * 30))
    assert corpus.vocabulary == "0123456789abc" and corpus.length == 200
    assert len(corpus.training) == 200
    np.testing.assert_array_equal(corpus.held_out, [9, *[9, 10, 11, 12] * 30])


def test_a_run_is_scored_on_the_first_of_many_held_out_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "SCORED", 5)
    corpus = text.corpus(text.Given("digits", "0123456789" * 20))
    np.testing.assert_array_equal(corpus.scored.held_out, [9, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(corpus.scored.training, corpus.training)


@pytest.mark.parametrize("mark", [b"", "\ufeff".encode()])
def test_a_byte_order_mark_is_not_a_character(mark: bytes, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(mark + b"ab\n" * 50)
    corpus = text.read(str(tmp_path / "text"))
    assert corpus.vocabulary == "\nab" and len(corpus.ids) == 150
    assert corpus.sha256 == hashlib.sha256(b"ab\n" * 50).hexdigest()


def test_each_row_of_a_window_goes_on_where_it_was_in_the_window_before() -> None:
    ids = np.random.default_rng(0).integers(0, 100, 101).astype(np.int32)
    window = text.windows(ids, batch=3, length=7)
    rows = [np.concatenate([window(step)[:-1, row] for step in range(20)]) for row in range(3)]
    for row, read in enumerate(rows):
        np.testing.assert_array_equal(read, np.roll(np.tile(ids, 2), -33 * row)[:140])
    for step in range(20):
        np.testing.assert_array_equal(window(step)[-1], window(step + 1)[0])


@pytest.mark.parametrize(("characters", "first"), [("\n a", "\n"), (" a", " "), ("ab", "a")])
def test_an_empty_prompt_opens_with_a_line(characters: str, first: str) -> None:
    assert [characters[i] for i in vocabulary.prompted(characters, "")] == [first]


def test_a_prompt_is_read_character_by_character() -> None:
    assert vocabulary.prompted("\nabẞ😀", "😀ba").tolist() == [4, 2, 1]


@pytest.mark.parametrize("prompt", ["ax?", "?\udcffx"])  # the last as Python reads bytes that are not UTF-8
def test_a_prompt_outside_the_vocabulary_is_refused(prompt: str) -> None:
    with pytest.raises(Problem, match=r"--prompt has '\?', 'x'.*, which the text has not; use its own characters: ab"):
        vocabulary.prompted("\nab", prompt)


def test_unknown_characters_are_counted() -> None:
    ids, others = vocabulary.known("abc", "cXabYYa\0")
    assert ids.tolist() == [2, 0, 1, 0]
    assert others == {"X": 1, "Y": 2, "\0": 1}
