"""The benchmark of all cells: each takes part or says why not, budgets are kept, no cell is trained twice."""

from argparse import Namespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import jaxrnn
from benchmarks import catalogue
from benchmarks.catalogue import quality, registry, speed, tables
from benchmarks.catalogue.plot import draw
from benchmarks.catalogue_peers import matched
from benchmarks.harness import main
from benchmarks.peers import Field
from benchmarks.problems import Shape
from benchmarks.timing import summary
from jaxrnn.cells import CONSTRUCTORS
from tiers import tiered

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENVIRONMENT = {"arguments": {"sort": "name"}}


def trained(name, *args):
    """What training a cell leaves in the lines, without training it."""
    made = {"structure": "dense", "features": 8, "parameters": 400, "model": 900, "diverged": 0}
    scores = {task: [0.3, 0.1, 0.2] for task in quality.TASKS}
    return {"cell": name, "what": "quality", "setting": quality.setting(quality.QUICK, 0), **made, **scores}


def timed(args, names, shape, modules):
    for name in names:
        row = {"cell": name, "what": "training", "shape": "2×5×8×8", "setting": speed.setting(shape)}
        yield [row | {"contender": "jaxrnn", "structure": "dense"} | summary([2.0, 4.0])]


@pytest.fixture
def args(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "installed", lambda skipped: [])
    monkeypatch.setattr(quality, "prepared", lambda size, seed: None)
    monkeypatch.setattr(speed, "timed", timed)
    cells = ["gru", "lstm", "cfc", "conv_gru"]
    given = {"parts": ["time", "quality"], "again": False, "quick": True, "seed": 0, "repeats": 2}
    return Namespace(out=tmp_path, cells=cells, **given)


@pytest.mark.parametrize("name", tiered(CONSTRUCTORS, ("lstm", "cfc", "conv_gru", "mc_lstm")))
def test_every_cell_is_timed_and_trained_or_says_why_not(name):
    cell = registry.timed_cell(name, 8)
    assert registry.inputs(cell, Shape(2, 5, 8, 8), 0).shape[:1] == (5,)
    why = registry.reason(name)
    assert (why is None) == (cell.num_feature_axes == 1 and not cell.timed and name != "mc_lstm")
    if why is None:
        budget = 32768 if name == "fru" else 4096
        features, layer = registry.trained_layer(name, 24, budget)
        assert registry.count(layer, 24) == pytest.approx(budget, rel=0.25), features


def test_a_cell_that_is_too_large_for_the_budget_is_left_out():
    with pytest.raises(registry.LeftOut, match="with 1 features it has 25,399 parameters, and the budget is 4,096"):
        registry.trained_layer("fru", 24, 4096)


def test_a_cell_that_needs_more_than_its_width_is_left_out(monkeypatch):
    def odd(features, taste):
        return jaxrnn.elman(features)

    monkeypatch.setitem(CONSTRUCTORS, "odd", odd)
    with pytest.raises(registry.LeftOut, match="it needs taste"):
        registry.timed_cell("odd", 8)
    assert registry.reason("odd") == "it needs taste"


def test_as_many_features_as_bring_the_parameters_nearest_to_the_budget():
    counts = {features: registry.count(registry.between("gru", 24, features), 24) for features in range(18, 22)}
    features, layer = registry.trained_layer("gru", 24, 3000)
    assert features == min(counts, key=lambda it: abs(counts[it] - 3000))
    assert registry.count(layer, 24) == counts[features]
    assert registry.trained_layer("gla", 4, 200)[0] % 4 == 0  # all of its heads


def test_inputs_have_what_a_cell_reads():
    shape = Shape(2, 5, 3, 4)
    assert registry.inputs(jaxrnn.gru(4), shape, 0).shape == (5, 2, 3)
    assert registry.inputs(jaxrnn.conv_gru(4, (3, 3)), shape, 0).shape[2:] == (8, 8, 16)
    assert (registry.inputs(jaxrnn.cfc(4), shape, 0)[..., -1] > 0).all()


def test_names_of_packages():
    theirs = ("UGRNN", "LiGRU", "AntisymmetricRNN", "Stack")
    found = matched(("ugrnn", "li_gru", "antisymmetric", "lstm"), theirs, {"antisymmetric": "AntisymmetricRNN"})
    assert found == {"ugrnn": "UGRNN", "li_gru": "LiGRU", "antisymmetric": "AntisymmetricRNN"}


def test_no_cell_is_measured_twice(args, monkeypatch):
    made = []

    def learned(name, *given):
        if made == ["gru"]:
            made.append("interrupted")
            raise KeyboardInterrupt
        made.append(name)
        return trained(name)

    monkeypatch.setattr(quality, "learned", learned)
    rows = catalogue.measure(args, Field(()))
    assert {(row["cell"], row["what"]) for row in rows} == {("gru", task) for task in quality.TASKS}
    with (args.out / "catalogue.jsonl").open("a") as file:
        file.write('{"cell": "lstm", "what"')  # a line that was cut off
    field = Field(())
    rows = catalogue.measure(args, field)
    assert made == ["gru", "interrupted", "lstm"]
    assert field.skipped["quality of cfc"] == "it reads times"
    assert field.skipped["quality of conv_gru"] == "it reads images" and "quality of gru" not in field.skipped
    assert [row["cell"] for row in rows if row["what"] == "training"] == ["cfc", "conv_gru", "gru", "lstm"]
    assert rows == catalogue.measure(args, Field(())) and len(made) == 3
    args.cells = ["gru"]
    assert rows == catalogue.measure(args, Field(()))  # all that is known
    args.again = True
    assert len(catalogue.measure(args, Field(()))) == len(rows) and made[3:] == ["gru"]


def result(sort="name"):
    def row(cell, contender, *samples):
        return {"cell": cell, "what": "training", "contender": contender, "structure": "dense", "shape": "1×2×3×4"} | (
            summary(samples)
        )

    rows = [row("gru", "jaxrnn", 2.0, 4.0), row("gru", "torchrecurrent", 30.0, 30.0), row("lstm", "jaxrnn", 1.0, 1.0)]
    rows += [row("elman", "jaxrnn", 4.0, 4.0), row("elman", "torchrecurrent", 8.0, 8.0)]
    rows += [it for name in ("gru", "lstm") for it in catalogue.rows_of(trained(name))]
    rows[-3]["median"] = 0.1
    rows[1]["checked"] = "values"
    return {"rows": rows, "environment": {"arguments": {"sort": sort}}, "skipped": {"quality of elman": "it is old"}}


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", ["elman", "gru", "lstm"]),
        ("time", ["lstm", "gru", "elman"]),
        ("torchrecurrent", ["elman", "gru", "lstm"]),
        ("characters", ["lstm", "gru", "elman"]),
    ],
)
def test_a_table_is_sorted_by_any_column_and_what_is_missing_comes_last(sort, order):
    assert [it.cell for it in tables.lines(result(sort), sort)] == order
    shown = tables.show(result(sort)).splitlines()
    assert [line.split()[0] for line in shown[2:5]] == order


def test_a_table_says_where_jaxrnn_is_not_ahead_and_why_a_cell_was_not_trained():
    shown = tables.show(result())
    said = " ".join(shown.split())
    assert "Of 2 cells that torchrecurrent has too, 1 compute the same" in said
    assert said.endswith("Less than 5 times as fast: elman (2.0).")
    assert "10.0 (12.0)" in shown and "it is old" in shown
    faster = [it for it in tables.lines(result(), "name") if it.cell != "elman"]
    assert tables.behind(result(), faster).endswith("All are 5 times as fast or more.")


def test_names_in_the_plot_do_not_touch():
    rng = np.random.default_rng(0)
    rows = []
    for name in CONSTRUCTORS:
        row = {"cell": name, "what": "training", "contender": "jaxrnn", "structure": "dense", "shape": "1×2×3×4"}
        rows.append(row | summary([float(rng.uniform(3, 30))]))
        rows.append(row | {"what": "characters", "median": float(rng.normal(2.5, 0.1)), "samples": []})
    figure = draw({"rows": rows, "environment": ENVIRONMENT, "skipped": {}})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    names = [it for it in figure.axes[0].texts if it.get_text() in CONSTRUCTORS]
    boxes = [Text.get_window_extent(it, canvas.get_renderer()) for it in names]  # without the line to the dot
    touching = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(names) == len(CONSTRUCTORS) and touching == 0


def test_windows_are_pieces_of_the_text():
    size = quality.QUICK
    inputs, targets, mask = quality.windows(jnp.arange(100), size, jax.random.key(3))
    np.testing.assert_array_equal(inputs + 1, targets)
    assert inputs.shape == (size.length, size.batch) and mask.all() and targets.max() < 100


@pytest.mark.parametrize("part", tiered(["time", "quality"], ()))
def test_the_script_runs(part, tmp_path):
    options = ["--quick", "--parts", part, "--cells", "elman", "--out", str(tmp_path)]
    found = main(catalogue.QUESTION, options)
    assert {row["cell"] for row in found["rows"]} == {"elman"}
    assert (tmp_path / "catalogue.png").read_bytes().startswith(b"\x89PNG")


def test_a_cell_that_breaks_down_does_not_end_the_run(args, monkeypatch):
    def learned(name, *given):
        return 1 / 0 if name == "gru" else trained(name)

    def with_a_broken_peer(args, names, shape, modules):
        for (row,) in timed(args, names, shape, modules):
            yield [row, {"cell": row["cell"], "what": "training", "contender": "memax", "why": "failed"}]

    monkeypatch.setattr(quality, "learned", learned)
    monkeypatch.setattr(speed, "timed", with_a_broken_peer)
    field = Field(())
    rows = catalogue.measure(args, field)
    assert field.skipped["quality of gru"] == "failed with ZeroDivisionError: division by zero"
    assert field.skipped["memax of gru"] == "failed"
    assert {row["cell"] for row in rows if row["what"] == "parity"} == {"lstm"}
    assert {row["contender"] for row in rows if row["what"] == "training"} == {"jaxrnn"}
