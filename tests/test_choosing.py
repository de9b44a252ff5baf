"""The guide to cells says what the committed figures say."""

import itertools

from docs import choosing
from docs.choosing import Measured

CELLS = [
    Measured("slow", 9.0, 2.0, 0.5, 0.9),
    Measured("fast", 1.0, 3.0, 0.5, 0.9),
    Measured("even", 4.0, 2.5, 0.0, 0.1),
    Measured("worse", 5.0, 2.6, 0.0, 0.2),
]


def result():
    fields = {"training": "ms", "characters": "bits", "parity": "parity", "recall": "recall"}
    rows = [
        {"cell": it.cell, "what": what, "median": getattr(it, field), "shape": "1×2×3×4"}
        | ({"contender": "jaxrnn"} if what == "training" else {})
        for it, (what, field) in itertools.product(CELLS, fields.items())
    ]
    other = {"cell": "slow", "what": "training", "contender": "memax", "median": 0.1, "shape": ""}
    timed_alone = {"cell": "images", "what": "training", "contender": "jaxrnn", "median": 0.1, "shape": ""}
    return {"rows": [*rows, other, timed_alone]}


def test_cells_are_those_of_which_all_is_known():
    assert list(choosing.measured(result())) == CELLS


def test_the_front_has_no_cell_than_which_another_is_faster_and_better():
    assert [it.cell for it in choosing.front(CELLS)] == ["fast", "even", "slow"]


def test_lists_are_sorted_and_have_their_figures():
    section = choosing.section(result())
    assert "the fastest of 2 cells with at most 1 % of errors" in section
    assert "| `even` | 4 | 2.500 | 0.000 | 0.100 |" in section and "images" not in section
    assert section.startswith("## Which cell to choose")
    assert [it.cell for it in choosing.best(CELLS, "recall")] == ["even", "worse", "fast", "slow"]


def test_without_figures_there_is_no_guide(monkeypatch, tmp_path):
    monkeypatch.setattr(choosing, "RESULTS", tmp_path)
    assert choosing.guide() == "" and choosing.section({"rows": []}) == ""
