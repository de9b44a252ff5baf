"""The notebooks run, and what is committed of them is a complete and clean execution in their full setting."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import quick

FOLDER = Path(__file__).parent.parent / "notebooks"
EQUATIONS, LENGTHS = "1_equations_to_vectors.ipynb", "2_variable_lengths.ipynb"
OWN_CELL, WRITING = "3_write_your_own_cell.ipynb", "4_text_generation.ipynb"


@cache
def committed(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)


def executed(name: str, probe: str) -> Any:
    """The value of the expression `probe` at the end of the notebook, executed in its short setting."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(probe))
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env=quick.environment() | {"JAXRNN_SHORT": "1"})
    return ast.literal_eval(notebook.cells[-1].outputs[-1].data["text/plain"])


def outputs(name: str) -> list[Any]:
    return [output for cell in committed(name).cells if cell.cell_type == "code" for output in cell.outputs]


def text(name: str) -> str:
    """All that the committed outputs say in words."""
    said = []
    for output in outputs(name):
        said += [output.text] if output.output_type == "stream" else []
        said += [output.data[kind] for kind in ("text/plain", "text/markdown") if kind in output.get("data", {})]
    return "\n".join(said)


@pytest.mark.parametrize(("name", "plots"), [(EQUATIONS, 3), (LENGTHS, 6), (OWN_CELL, 4), (WRITING, 3)])
def test_committed_execution_is_complete_and_clean(name: str, plots: int) -> None:
    notebook = committed(name)
    assert notebook.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert {output.output_type for output in outputs(name)} <= {"stream", "display_data", "execute_result"}
    assert [output.text for output in outputs(name) if output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs(name)) == plots
    assert "Warning" not in text(name)
    assert re.findall(r"(?<![\w.])/\w+/\S*", text(name)) == []  # paths of a machine


def test_committed_equations_agree_in_the_full_setting() -> None:
    assert "(128, 32, 128)" in text(EQUATIONS)
    table = re.findall(r"^\| (.+?) \| .* \| (\S+) \|$", text(EQUATIONS), re.MULTILINE)
    differences = {version: float(value) for version, value in table if re.fullmatch(r"\d+e[-+]\d+", value)}
    assert {"Python, row by row", "NumPy, a batch", "jaxrnn.unroll"} <= differences.keys()
    assert len(differences) == 7 and max(differences.values()) < 1e-5


def test_committed_accuracy_is_above_the_baselines() -> None:
    found = re.search(r"test accuracy (\S+) over (\d+) seeds, best baseline (\S+)", text(LENGTHS))
    assert found is not None
    accuracy, seeds, baseline = (float(group) for group in found.groups())
    assert accuracy >= 0.97 and seeds == 3 and accuracy > baseline


def test_committed_cell_is_better_than_the_one_it_varies() -> None:
    found = re.search(r"leaky \(own\) (\S+), jaxrnn.elman (\S+), jaxrnn.gru (\S+) over 3 seeds", text(OWN_CELL))
    assert found is not None
    own, elman, gru = map(float, found.groups())
    assert own > elman + 0.05 and gru > 0.9


def test_committed_ways_to_write_differ_as_the_notebook_says() -> None:
    found = re.search(r"held out (\S+) bits per character, best n-gram (\S+)", text(WRITING))
    assert found is not None and float(found[1]) < float(found[2]) - 0.1
    rows = re.findall(r"^\| (.+?) \| (\d\.\d+) \| (\d\.\d+) \| (\d\.\d+) \|$", text(WRITING), re.MULTILINE)
    measures = {name: (float(bits), float(distinct), float(known)) for name, bits, distinct, known in rows}
    true, wild, beams = measures["the true text"], measures["temperature 1"], measures["beam search, 8"]
    assert beams[0] < measures["greedy"][0] < 0.5 * true[0]
    assert max(beams[1], measures["greedy"][1]) < 0.5 * true[1]
    assert abs(wild[0] - true[0]) < 0.1 and wild[2] < true[2] - 0.1
    for between in ("temperature 0.7", "top-k 5", "top-p 0.9"):
        assert abs(measures[between][1] - true[1]) < 0.15 and measures[between][2] > true[2] - 0.05


def test_equations_short() -> None:
    probe = "[float(r['difference']) for r in results.values()] + [gradient_difference, elman_difference]"
    differences = executed(EQUATIONS, probe)
    assert len(differences) == 9 and max(differences) < 1e-6
    assert differences[0] == 0  # the first version is the yardstick …
    assert min(differences[1:7]) > 0  # … and the others were computed apart from it


def test_lengths_short() -> None:
    probe = "(reached[0], best_baseline, max(differences.values()), same, unchanged, float(nan_share))"
    accuracy, baseline, difference, same, unchanged, nan_share = executed(LENGTHS, probe)
    assert accuracy > baseline > 0.9
    assert difference < 1e-6
    assert same and unchanged
    assert nan_share == 1  # the trap that the notebook warns of is real


def test_own_cell_short() -> None:
    probe = "(max(differences.values()), hand_difference, flax_difference, sorted(medians), means['leaky (own)'])"
    differences, by_hand, flax, timed, accuracy = executed(OWN_CELL, probe)
    assert max(differences, by_hand, flax) < 1e-5
    assert timed == ["jaxrnn.elman", "lax.scan by hand", "own cell", "own cell, plain loop"]
    assert accuracy > 0.2  # a tenth is chance; four epochs


def test_writing_short() -> None:
    probe = "(reached, float(np.log2(V)), best_counted, {name: of.shape for name, of in texts.items()}, measures)"
    reached, ignorance, counted, shapes, measures = executed(WRITING, probe)
    assert counted < reached < ignorance  # it has learned something in a few updates, and not all that counting finds
    assert len(shapes) == 9 and shapes.pop("the prompt") == (100, 4) and {*shapes.values()} == {(30, 4)}
    assert measures["greedy"][0] < measures["temperature 1"][0]
