"""Interpolated Witten–Bell models against their definition, counted out one symbol at a time."""

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn.cli.ngram import witten_bell

Model = Callable[[int, tuple[int, ...]], float]


def by_definition(ids: list[int], split: int, size: int) -> Model:
    """`P(symbol | history)` with dictionaries and recursion; the history's length is the order less one."""
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for end in range(split):
        for begin in range(end + 1):
            counts[tuple(ids[begin:end])][ids[end]] += 1

    def probability(symbol: int, history: tuple[int, ...]) -> float:
        shorter = probability(symbol, history[1:]) if history else 1 / size
        after = counts[history]
        if not after:
            return shorter
        return (after[symbol] + len(after) * shorter) / (after.total() + len(after))

    return probability


def bits(model: Model, ids: list[int], split: int, order: int) -> float:
    held_out = range(split, len(ids))
    return float(np.mean([-np.log2(model(ids[i], tuple(ids[i - order + 1 : i]))) for i in held_out]))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=60), st.floats(0.4, 0.95))
def test_equals_a_definition_that_is_a_distribution(ids: list[int], part: float) -> None:
    split = max(5, int(part * len(ids)))
    model = by_definition(ids, split, size=4)
    assert sum(model(symbol, tuple(ids[-4:])) for symbol in range(4)) == pytest.approx(1)
    expected = [bits(model, ids, split, order) for order in range(1, 6)]
    np.testing.assert_allclose(witten_bell(np.array(ids), split, size=4), expected, rtol=1e-12)


def test_the_first_symbols_may_be_left_out_of_the_score() -> None:
    drawn = np.random.default_rng(1).integers(0, 4, 200)
    all_of_them, first, last = (
        witten_bell(drawn, 100, 4),
        witten_bell(drawn[:130], 100, 4),
        witten_bell(drawn, 100, 4, begin=130),
    )
    np.testing.assert_allclose(0.3 * np.array(first) + 0.7 * np.array(last), all_of_them, rtol=1e-12)
    for begin in (99, 200):
        with pytest.raises(ValueError, match=f"begin is {begin}, expected 100 ≤ begin < 200"):
            witten_bell(drawn, 100, 4, begin=begin)


def test_worked_by_hand() -> None:
    """`aab|a`: P(a) = (2 + 2/2) / (3 + 2) = 3/5; nothing was seen after b, so that order 2 has nothing to add."""
    found = witten_bell(np.array([0, 0, 1, 0]), split=3, size=2, orders=2)
    np.testing.assert_allclose(found, [-np.log2(3 / 5)] * 2)


def test_the_vocabulary_may_be_large() -> None:
    """A number for five symbols of 50 million would need 128 bits."""
    drawn = np.random.default_rng(0).integers(0, 3, 300) * 20_000_000
    ids, size = drawn.tolist(), 50_000_000
    expected = [bits(by_definition(ids, 270, size), ids, 270, order) for order in range(1, 6)]
    np.testing.assert_allclose(witten_bell(drawn, 270, size), expected, rtol=1e-12)


@pytest.mark.parametrize("split", [0, 4, 20])
def test_a_part_that_is_too_short_is_refused(split: int) -> None:
    with pytest.raises(ValueError, match=f"split is {split}, expected 5 ≤ split < 20"):
        witten_bell(np.arange(20), split, size=20)
