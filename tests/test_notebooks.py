"""The notebooks run, and what is committed of them is a complete and clean execution in their full setting.

One of them runs by default, and with `--every` all.
"""

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
TRANSLATION, DNA = "5_translation_with_attention.ipynb", "7_dna_cpg_islands.ipynb"
FORECASTS, AGENTS = "6_forecasting.ipynb", "11_recurrent_agents.ipynb"
HYBRIDS, GRADIENTS = "8_hybrid_models.ipynb", "9_vanishing_gradients.ipynb"
DEVICES = "10_many_devices.ipynb"


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


PLOTS = {
    EQUATIONS: 3,
    LENGTHS: 6,
    OWN_CELL: 4,
    WRITING: 3,
    TRANSLATION: 2,
    FORECASTS: 5,
    DNA: 3,
    HYBRIDS: 4,
    AGENTS: 3,
    GRADIENTS: 4,
    DEVICES: 3,
}


def test_every_notebook_is_tested() -> None:
    assert sorted(PLOTS) == sorted(path.name for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize(("name", "plots"), PLOTS.items())
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


def test_committed_translations_are_exact() -> None:
    found = re.search(r"over 3 seeds: attention (\S+) to \S+, one vector \S+ to (\S+)", text(TRANSLATION))
    assert found is not None
    worst, best_of_baseline = map(float, found.groups())
    assert worst >= 0.98 and best_of_baseline < worst
    [difference] = re.findall(r"contexts differ from the decoder's by (\S+)", text(TRANSLATION))
    assert float(difference) < 1e-5  # the weights in the picture are those that the decoder used


def test_committed_forecasts_are_as_good_as_the_notebook_says() -> None:
    yearly, monthly = (dict[str, tuple[float, float]](), dict[str, tuple[float, float]]())
    rows = re.findall(r"^\| ([a-zA-Z].+?) \| (\d\.\d+) \| (\d\.\d+) \| \d\.\d+ \|$", text(FORECASTS), re.MULTILINE)
    for name, score, coverage in rows:
        (monthly if name in yearly else yearly)[name] = float(score), float(coverage)
    monthly |= {name: yearly.pop(name) for name in ("seasonal persistence", "autoregression, log")}
    seeds = [f"DeepAR, seed {seed}" for seed in range(3)]
    baselines = yearly.keys() - {*seeds, "DeepAR, mean of seeds"}
    assert baselines == {"persistence", "drift", "autoregression"}
    assert max(yearly[seed][0] for seed in seeds) < min(yearly[name][0] for name in baselines) - 0.1
    assert min(yearly[seed][1] for seed in seeds) > max(yearly[name][1] for name in baselines) + 0.05
    assert monthly["autoregression, log"][0] < min(monthly[seed][0] for seed in seeds) - 0.05
    assert max(monthly[seed][0] for seed in seeds) < monthly["seasonal persistence"][0]
    found = re.search(r"95 % interval over series (\S+) to", text(FORECASTS))
    assert found is not None and float(found[1]) > 0


def test_committed_labels_are_near_the_exact_posterior() -> None:
    worst = r"{}, worst of 3 seeds, times its ceiling: accuracy (\S+), log loss (\S+), AUC (\S+)"
    for name in ("GRU, both directions", "GRU, one direction"):
        found = re.search(worst.format(name), text(DNA))
        assert found is not None
        accuracy, loss, auc = map(float, found.groups())
        assert accuracy > 0.98 and loss < 1.02 and auc > 0.98
    table = dict(re.findall(r"^\| (.+?) \| .* \| (\S+) \| \S+ \|$", text(DNA), re.MULTILINE))
    losses = {name: float(loss) for name, loss in table.items() if loss[0].isdigit()}
    assert len(losses) == 7
    windows = min(loss for name, loss in losses.items() if "window" in name)
    assert losses["exact, from the whole sequence"] < losses["GRU, both directions"] < windows


def test_committed_parts_of_hybrids_do_what_the_notebook_says() -> None:
    table = re.findall(
        r"^\| (.+?) \| [\d,]+ \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (.+) \|$", text(HYBRIDS), re.MULTILINE
    )
    rows = {name: [float(figure) for figure in figures] for name, *figures, _ in table}
    assert len(rows) == 8
    hybrid, without = rows["all three"], rows["convolution + attention"]
    assert min(hybrid[0], without[0]) > 0.98  # near notes
    assert max(rows[name][0] for name in ("convolution", "GRU", "RG-LRU", "local attention")) < 0.5
    assert min(rows[name][3] for name in ("GRU", "RG-LRU", "all three", "Griffin")) > 0.9  # the switch, far
    assert max(rows[name][3] for name in ("convolution", "local attention", "convolution + attention")) < 0.6
    seeds = {name: [float(figure) for figure in each.split(", ")] for name, *_, each in table}
    assert min(seeds["all three"]) > max(max(found) for name, found in seeds.items() if name != "all three")


def test_committed_agents_need_their_memory() -> None:
    table = re.findall(r"^\| (.+?) \| (\d\.\d+) \| (\d\.\d+) to (\d\.\d+) \| (\w+) \|$", text(AGENTS), re.MULTILINE)
    success = {name: (float(median), float(low), float(high)) for name, median, low, high, _ in table}
    assert min(success["GRU"][1], success["LRU"][1]) > 0.95
    assert success["no memory"][1] > 0.4 and success["no memory"][2] < 0.6
    said = re.findall(r"acting and training differ by at most (\S+) in all 150 updates", text(AGENTS))
    assert len(said) == 3 and max(map(float, said)) < 1e-4


def test_committed_gradients_tell_what_the_notebook_says() -> None:
    rows = re.findall(r"^\| (.+?) \| ([\d., ]+) \| (\S+) \| (\S+) \| \S+ \| \S+ \|$", text(GRADIENTS), re.MULTILINE)
    table = {name: ([*map(float, each.split(", "))], float(before), float(after)) for name, each, before, after in rows}
    assert len(table) == 6 and all(len(reached) == 3 for reached, *_ in table.values())
    assert max(table["LSTM"][0] + table["GRU"][0]) < 0.2  # chance is an eighth
    assert min(table["LSTM, chrono"][0] + table["GRU, chrono"][0]) > 0.95
    assert table["LSTM"][1] > 1e-3 > table["Elman"][1]  # a healthy profile that did not learn, a vanishing one that did
    assert max(table["Elman"][0]) > 0.9 and table["Elman"][2] > 0.1
    assert max(table["LSTM"][2], table["GRU"][2]) < 1e-6


def test_committed_ways_to_split_are_equal_and_send_what_the_notebook_says() -> None:
    rows = re.findall(r"^\| (.+?) \| (\S+e\S+) \| \S+ \| (\S+e\S+) \| (\S+) \|$", text(DEVICES), re.MULTILINE)
    assert len(rows) == 5 and len({last for *_, last in rows}) == 1
    assert all(float(gradients) < 1e-5 and float(losses) < 1e-4 for _, gradients, losses, _ in rows)
    sent = re.findall(r"^\| (.+?) \| (.+?) \| (\d+) \| (\d+\.\d) \|$", text(DEVICES), re.MULTILINE)
    assert len(sent) == 6 and {in_loop for _, _, in_loop, _ in sent} == {"0"}
    size = {name: float(kib) for name, _, _, kib in sent}
    assert dict((name, kinds) for name, kinds, *_ in sent)["data parallel"] == "1 all-reduce"
    assert size["data parallel"] < size["FSDP"] < size["sequence parallel"] < size["tensor parallel"]
    assert size["sequence parallel"] == size["the same, 256 steps"]
    assert "| 1 all-gather, 1 all-reduce | 16.0 |" in text(DEVICES)  # the LSTM, in a step


def test_equations_short() -> None:
    probe = "[float(r['difference']) for r in results.values()] + [gradient_difference, elman_difference]"
    differences = executed(EQUATIONS, probe)
    assert len(differences) == 9 and max(differences) < 1e-6
    assert differences[0] == 0  # the first version is the yardstick …
    assert min(differences[1:7]) > 0  # … and the others were computed apart from it


@pytest.mark.every
def test_lengths_short() -> None:
    probe = "(reached[0], best_baseline, max(differences.values()), same, unchanged, float(nan_share))"
    accuracy, baseline, difference, same, unchanged, nan_share = executed(LENGTHS, probe)
    assert accuracy > baseline > 0.9
    assert difference < 1e-6
    assert same and unchanged
    assert nan_share == 1  # the trap that the notebook warns of is real


@pytest.mark.every
def test_own_cell_short() -> None:
    probe = "(max(differences.values()), hand_difference, flax_difference, sorted(medians), means['leaky (own)'])"
    differences, by_hand, flax, timed, accuracy = executed(OWN_CELL, probe)
    assert max(differences, by_hand, flax) < 1e-5
    assert timed == ["jaxrnn.elman", "lax.scan by hand", "own cell", "own cell, plain loop"]
    assert accuracy > 0.2  # a tenth is chance; four epochs


@pytest.mark.every
def test_writing_short() -> None:
    probe = "(reached, float(np.log2(V)), best_counted, {name: of.shape for name, of in texts.items()}, measures)"
    reached, ignorance, counted, shapes, measures = executed(WRITING, probe)
    assert counted < reached < ignorance  # it has learned something in a few updates, and not all that counting finds
    assert len(shapes) == 9 and shapes.pop("the prompt") == (100, 4) and {*shapes.values()} == {(30, 4)}
    assert measures["greedy"][0] < measures["temperature 1"][0]


@pytest.mark.every
def test_translation_short() -> None:
    losses = "[float(losses[0] - losses[-1]) for losses in (runs['attention'][0][1], longer[1])]"
    beyond = "float(np.abs(weights.sum(1) - 1).max())"
    probe = (
        f"(weights.shape, {beyond}, float(difference), {losses}, sorted(matches), bool((np.diff(scores) <= 0).all()))"
    )
    shape, beyond_one, difference, learned, rows, best_first = executed(TRANSLATION, probe)
    assert shape == (22, 65, 2)
    assert max(beyond_one, difference) < 1e-5
    assert min(learned) > 0.1
    assert rows == ["attention", "one vector", "one vector, three times the updates"]
    assert best_first


@pytest.mark.every
def test_forecasts_short() -> None:
    probe = "(measures[yearly], measures[monthly], float(crps(np.array([[0.0, 3.0, 0.0]]), np.array([1.0]))[0]))"
    yearly, monthly, score = executed(FORECASTS, probe)
    assert score == pytest.approx(4 / 3 - 2 / 3)  # E|X − y| − E|X − X′| / 2, by hand
    assert yearly["drift"][0] < yearly["DeepAR, mean of seeds"][0] < yearly["persistence"][0]  # it has begun to learn
    assert monthly["DeepAR, mean of seeds"][0] < monthly["persistence"][0]
    for measures in (yearly, monthly):
        for score, coverage, error in measures.values():
            assert score < error and 0.3 < coverage < 1  # a distribution is better than its median


@pytest.mark.every
def test_dna_short() -> None:
    probe = "(enumeration_difference, [(name, run[0]['log loss']) for name, run in results.items()])"
    difference, figures = executed(DNA, probe)
    losses = dict(figures)
    assert difference < 1e-12
    assert len(losses) == 7 and min(losses, key=losses.__getitem__) == "exact, from the whole sequence"


@pytest.mark.every
def test_hybrids_short() -> None:
    fallen = "{name: float(runs[0][0] - runs[0][-1]) for name, runs in losses.items()}"
    probe = f"(same, baselines, {fallen}, bool((distances[answers >= 0] > 0).all()), min(map(min, seconds.values())))"
    same, baselines, learned, positive, least = executed(HYBRIDS, probe)
    assert same and positive
    assert abs(baselines["notes"] - 1 / 8) < 0.1 and abs(baselines["switch"] - 1 / 4) < 0.15
    assert sorted(learned) == ["GRU", "Griffin", "Griffin, 3 × the updates", "all three"]
    assert min(learned.values()) > 0
    assert least > 0


@pytest.mark.every
def test_agents_short() -> None:
    last = "{name: float(np.median(curves[:, -10:])) for name, curves in history.items()}"
    success, differences = executed(AGENTS, f"({last}, differences)")
    assert min(success["GRU"], success["LRU"]) > 0.9 and 0.4 < success["no memory"] < 0.6
    for equal, without_resets, without_carry in differences.values():
        assert equal < 1e-5 < 0.01 < min(without_resets, without_carry)


@pytest.mark.every
def test_gradients_short() -> None:
    slopes = "{name: (report.layers[0].slope, report.exponent) for name, report in before.items()}"
    probe = f"({slopes}, reached, clipped, [float(losses[-1]) for found in runs.values() for _, losses, _ in found])"
    rates, reached, clipped, losses = executed(GRADIENTS, probe)
    assert sorted(rates) == sorted(reached) == ["Elman", "LSTM, chrono"] and len(clipped) == 2
    assert all(slope < 0 and abs(slope - exponent) < 0.15 for slope, exponent in rates.values())
    assert max(losses) < 3


@pytest.mark.every
def test_devices_short() -> None:
    loops = "{name: [of.kind for of in sends] for name, sends in in_steps.items()}"
    same = "max(values.values()) - min(values.values())"
    probe = f"(jax.device_count(), differences, shares, {loops}, {same}, refused, wavefront_difference)"
    count, differences, shares, in_steps, spread, refused, layers = executed(DEVICES, probe)
    assert count == 2 and len(differences) == 5
    assert all(gradients < 1e-5 and losses < 1e-5 for gradients, _, losses in differences.values())
    assert max(spread, layers) < 1e-5
    state, outputs = shares["one device"]
    for name, (part, ys) in shares.items():
        assert ys == (outputs if name == "one device" else outputs / 2)
        assert part < 0.7 * state if name in ("tensor parallel", "FSDP") else part == state
    assert {name for name, kinds in in_steps.items() if kinds} == {"tensor parallel"}
    assert [*refused] == ["sequence parallel"] and "wavefront" in refused["sequence parallel"]
