"""The benchmarks run, compare like with like, and their report is reproducible; nothing here depends on speed."""

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import lax
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

import quick
from benchmarks import characters, cpu_ideas, linear_peers, own_cell, packages, plots, report, results, shares
from benchmarks.__main__ import QUESTIONS
from benchmarks.__main__ import main as run_all
from benchmarks.catalogue_peers import PACKAGES as CATALOGUES
from benchmarks.harness import main, told
from benchmarks.linear_peers import PACKAGES, Entrant
from benchmarks.linear_peers.jaxrnn import entrant
from benchmarks.linear_peers.problems import REAL, make_problem
from benchmarks.parallel.ways import WAYS
from benchmarks.parity import Parity, ParityError, admitted
from benchmarks.peers import PEERS, Field, jaxrnn
from benchmarks.problems import SHAPES, Shape, make_case, shape_of
from benchmarks.timing import round_robin, settle, summary
from tiers import tiered

ROOT = Path(__file__).parents[1]
OPTIONS = ["--quick", "--cells", "elman", "--peers", "flax_linen", "--seed", "7"]
TINY = Shape(2, 5, 3, 4)
NEIGHBOURS = {"packages": {*PACKAGES}, "catalogue": {*CATALOGUES}}  # need not be installed
SHORT = ("against_peers", "memory", "shares", "serving")  # the others run with --every


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory, quick_compilation):
    """A folder of runs with one in it, made by every script; what they measure here nobody reads."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quick.environment().items():  # of the process with virtual devices
            patch.setenv(name, value)
        for name in QUESTIONS if request.config.getoption("every") else SHORT:
            main(report.SCRIPTS[name].QUESTION, [*OPTIONS, "--out", str(folder / "here")])
    return folder


@pytest.mark.parametrize("name", tiered(QUESTIONS, SHORT))
def test_each_script_writes_a_table_a_file_and_a_plot(runs, name):
    result = results.load(runs / "here" / f"{name}.json")
    assert result["question"] == name
    assert set(result["skipped"]) <= NEIGHBOURS.get(name, set())
    for key in (
        "date",
        "versions",
        "processor",
        "cores",
        "devices",
        "settings",
        "allocator",
        "torch_threads",
        "arguments",
    ):
        assert key in result["environment"]
    assert result["environment"]["arguments"]["seed"] == 7
    assert all(row["median"] > 0 for row in result["rows"])
    assert (runs / "here" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    silent = (
        "scaling",
        "vmap_cost",
        "characters",
        "character_speed",
        "ponder",
        "long_sequences",
        "tasks",
        "sharding",
        "catalogue",
    )
    assert "jaxrnn" in report.SCRIPTS[name].QUESTION.show(result) or name in silent


def test_against_peers_times_every_contender_both_ways(runs):
    rows = results.load(runs / "here" / "against_peers.json")["rows"]
    assert [(row["what"], row["contender"]) for row in rows] == [
        (what, name) for what in ("forward", "training") for name in ("jaxrnn", "flax linen", "products alone")
    ]
    for row in rows:
        low, high = row["quartiles"]
        assert len(row["samples"]) == 2 and low <= row["median"] <= high
        assert (row["deviation"] is None) == (row["kind"] == "floor")


def test_ratios_and_table():
    rows = [
        {"shape": shape, "contender": name, "median": ms, "quartiles": [ms / 2, 2 * ms]}
        for name, times in {"ours": (1.0, 8.0), "theirs": (2.0, 4.0)}.items()
        for shape, ms in zip(("small", "large"), times, strict=True)
    ]
    rows[-1]["quartiles"] = [1.0, 8.0]
    ratios = results.over(results.values(rows, contender="ours"), results.values(rows, contender="theirs"))
    assert ratios == {"small": (0.5, 0.5), "large": (2.0, 4.0), results.MEAN: (1.0, pytest.approx(2**0.5))}
    assert results.comparison("LSTM, ms", rows, {"ours / theirs": ratios}).splitlines() == [
        "LSTM, ms             small        large    geo. mean",
        "─────────────  ───────────  ───────────  ───────────",
        "ours             1 (0.5–2)     8 (4–16)",
        "theirs             2 (1–4)      4 (1–8)",
        "─────────────  ───────────  ───────────  ───────────",
        "ours / theirs  0.50 (0.50)  2.00 (4.00)  1.00 (1.41)",
    ]
    assert results.least(rows) == {"small": (1.0, 0.5), "large": (4.0, 1.0)}


def test_what_was_not_timed_has_no_quartiles():
    rows = [{"shape": "small", "contender": name, "median": mib} for name, mib in (("ours", 1.0), ("theirs", 4.0))]
    ratios = results.over(results.values(rows, contender="ours"), results.values(rows, contender="theirs"))
    assert ratios == {"small": (0.25, None), results.MEAN: (0.25, None)}
    assert results.ratio(ratios["small"]) == "0.25" and results.least(rows) == {"small": (1.0, None)}


def test_turns_alternate_and_another_begins_each_round(monkeypatch):
    monkeypatch.setattr("benchmarks.environment.Bystanders.cores", lambda self: 0.0)
    order = []
    times = round_robin({name: lambda name=name: order.append(name) for name in "abc"}, rounds=3)
    firsts = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert "".join(firsts) == "abc" + "abc" + "bca" + "cab"
    assert [len(samples) for samples in times.values()] == [3, 3, 3]
    assert summary([3.0, 1.0, 2.0]) == {"median": 2.0, "quartiles": [1.5, 2.5], "samples": [3.0, 1.0, 2.0]}


def test_rounds_that_others_disturbed_are_made_again(monkeypatch):
    busy = iter([0.0, 1.0, 0.5, 0.0, 0.0, 2.0])
    monkeypatch.setattr("benchmarks.environment.Bystanders.cores", lambda self: next(busy))
    monkeypatch.setattr("benchmarks.timing.timed_turn", lambda call: call())
    numbers = iter(range(7))
    assert round_robin({"a": lambda: next(numbers)}, rounds=3)["a"] == [1, 4, 5]  # 0 went to compiling
    busy = iter([1.0, 2.0, 3.0, 0.5])
    assert len(round_robin({"a": lambda: 1.0}, rounds=2)["a"]) == 2 and list(busy) == []


def test_a_turn_begins_when_threads_are_idle(monkeypatch):
    busy = iter([0.0, 0.003, 0.003, 0.006, 0.006, 0.006])  # of all threads: two slices of work, then rest
    slept = []
    monkeypatch.setattr("time.process_time", lambda: next(busy))
    monkeypatch.setattr("time.sleep", slept.append)
    settle(slice_s=0.003)
    assert slept == [0.003] * 3


def test_parity_refuses_another_function():
    case = make_case("elman", TINY, seed=0)
    parity = Parity(case)
    assert parity.check(jaxrnn.contender(case)) < 1e-5
    other = make_case("elman", TINY, seed=1)
    with pytest.raises(ParityError, match=r"jaxrnn: outputs of elman \(2, 5, 3, 4\) deviate by"):
        parity.check(jaxrnn.contender(other))


@pytest.mark.every
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_flax_peers_get_our_weights(cell):
    field = Field(["flax_linen", "flax_nnx"])
    deviations = admitted(make_case(cell, TINY, seed=3), field)
    assert {contender.name for contender in deviations} == {"jaxrnn", "flax linen", "flax nnx"}
    assert field.skipped == {}


def test_gates_are_joined_in_the_order_asked_for():
    case = make_case("lstm", TINY, seed=0)
    kernel, recurrent, bias = case.joined("og")
    np.testing.assert_array_equal(kernel, np.concatenate([case.params["kernel"][:, 3], case.params["kernel"][:, 2]], 1))
    np.testing.assert_array_equal(recurrent[:, :4], case.params["recurrent_kernel"][:, 3])
    np.testing.assert_array_equal(bias[4:], case.params["bias"][2])


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'haiku'", name="haiku")

    monkeypatch.setattr("benchmarks.peers.import_module", missing)
    assert Field(["haiku"]).skipped == {"haiku": 'haiku is not installed; pip install -e ".[bench]" brings it'}


def test_a_peer_that_breaks_down_is_left_out_aloud(monkeypatch):
    field = Field(["flax_linen"])
    monkeypatch.setattr("flax.linen.RNN.__call__", lambda *args, **kwargs: 1 / 0)
    assert len(admitted(make_case("elman", TINY, seed=0), field)) == 1
    assert field.skipped == {"flax linen, elman, float32": "failed with ZeroDivisionError: division by zero"}


@pytest.mark.every
def test_collectives_and_products_are_those_that_the_model_of_the_cost_predicts(runs):
    rows = results.pick(results.load(runs / "here" / "sharding.json")["rows"], what="step")
    assert {(row["contender"], row["devices"]) for row in rows} == {(way, n) for way in WAYS for n in (1, 4)}
    for row in rows:
        assert row["collectives"] == row["predicted"], row
        assert row["flop"] == row["predicted_flop"], row
        assert bool(row["collectives"]) == (row["devices"] > 1)


@pytest.mark.every
def test_packages_are_timed_both_ways(runs):
    rows = results.pick(results.load(runs / "here" / "packages.json")["rows"], cell="complex h = a h + b")
    assert [(row["what"], row["contender"]) for row in rows] == [
        (what, name)
        for what in ("forward", "training", "temporaries")
        for name in ("jaxrnn", "S5-style associative scan")
    ]


def test_a_package_computes_the_same_breaks_down_aloud_or_ends_the_run():
    given, skipped = make_problem(REAL, (5, 2, 4), seed=0), {}
    ours = entrant(given)
    broken = Entrant("broken", lambda b: 1 / 0, given.arrays[1:])
    found = packages.admitted(given, [ours, replace(ours, name="same"), broken], skipped)
    assert [it.name for it in found] == ["jaxrnn", "same"]
    assert skipped == {"broken, h = a h + b": "failed with ZeroDivisionError: division by zero"}
    for other in (lambda a, b: 2 * ours.run(a, b), lambda a, b: ours.run(a, lax.stop_gradient(b))):
        with pytest.raises(ParityError, match=r"other: (outputs|gradients of inputs) of h = a h \+ b deviate by"):
            packages.admitted(given, [ours, replace(ours, name="other", run=other)], skipped)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    real = linear_peers.import_module

    def missing(name):
        if name.endswith("memax"):
            raise ModuleNotFoundError("No module named 'memax'", name="memax")
        return real(name) if name.endswith("s5") else None

    monkeypatch.setattr("benchmarks.linear_peers.import_module", missing)
    skipped = {}
    assert linear_peers.installed(skipped)[-1].__name__ == "benchmarks.linear_peers.s5"
    assert skipped == {"memax": 'memax is not installed; pip install -e ".[bench]" brings it'}


def test_cells_and_n_grams_are_scored_on_the_same_text_and_chosen_on_another(monkeypatch):
    seen = {}

    def reader(name, corpus, size):
        assert corpus.split == 180  # what models learn from ends where validation begins

        def bits(params, ids):
            seen.setdefault(params, []).append(ids)
            rate, seed = params
            return abs(np.log(rate / 0.006)) + 0.1 * seed + 1

        return lambda rate, seed: (np.float64(rate), np.int64(seed)), bits

    monkeypatch.setattr(characters, "reader", reader)
    text = np.random.default_rng(0).integers(0, 5, 300).astype(np.int32)
    given = characters.split(characters.text.Corpus("", "", "abcde", text, 0), 200)
    row = characters.read("lstm", given, characters.Size(8, 2), 3, seed=7)
    assert row["learning_rate"] == 0.006 and row["samples"] == [1.7, 1.8, 1.9] and row["median"] == 1.8
    validation, test = seen[0.006, 7]
    np.testing.assert_array_equal(validation, text[179:190])
    np.testing.assert_array_equal(test, text[189:200])
    assert [len(seen[0.006, seed]) for seed in (8, 9)] == [1, 1]  # the other seeds are scored alone
    order = int(np.argmin(characters.witten_bell(text[:190], 180, 5)))  # the best on the validation text
    bits = characters.witten_bell(text[:200], 180, 5, begin=190)[order]
    counted = characters.counted(given)
    assert (counted["order"], counted["median"]) == (order + 1, round(bits, 4))


@pytest.mark.parametrize(("best", "tried"), [(2, 3), (0, 4), (4, 4)])
def test_a_learning_rate_is_looked_for_downhill(best, tried):
    losses = []

    def loss(rate):
        losses.append(abs(rate - best))
        return losses[-1]

    assert characters.downhill(loss, range(5)) == best and len(losses) == tried


def test_a_run_on_a_text_may_end_early(monkeypatch):
    def read(name, *args):
        if name == "gru":
            raise KeyboardInterrupt
        return {"contender": name, "cell": "dense", "median": 2.0, "samples": [2.0]}

    monkeypatch.setattr(characters, "read", read)
    field = Field(())
    rows = characters.measure(Namespace(quick=False, seed=0), field)
    assert [row["contender"] for row in rows] == ["n-grams", "elman", "lstm"]
    assert {"gru", "rwkv7"} <= set(field.skipped) and not {"elman", "lstm"} & set(field.skipped)


def test_who_does_not_take_part_is_told_once_a_reason(runs):
    result = results.load(runs / "here" / "memory.json") | {"skipped": {"a": "late", "b": "absent", "c": "late"}}
    shown = told(report.SCRIPTS["memory"].QUESTION, result)
    assert "skipped a; c: late\nskipped b: absent" in shown
    result["environment"]["cores_busy_with_others"] = 2.0
    blurred = [told(report.SCRIPTS[name].QUESTION, result).count("warning:") for name in ("memory", "networks")]
    assert blurred == [0, 1]  # other programs do not change how much memory is needed


def test_a_loop_by_hand_has_one_product_of_the_state_in_a_step():
    case = make_case("gru", TINY, seed=0)
    for name, products in ((own_cell.IN_STEP, 2), (own_cell.BEFORE, 1)):
        program = own_cell._by_hand(case, name).forward
        (loop,) = [
            it
            for it in jax.make_jaxpr(program.function)(*program.args).jaxpr.eqns[0].params["jaxpr"].eqns
            if it.primitive.name == "scan"
        ]
        assert str(loop.params["jaxpr"]).count("dot_general") == products


@pytest.mark.parametrize(("cell", "expected"), [("lstm", (3, 2)), ("gru", (2, 1)), ("elman", (0, 1))])
def test_functions_of_a_step_are_those_of_its_equations(cell, expected):
    found = shares.functions_of(make_case(cell, TINY, seed=0))
    names = [name for name, shape in found]
    assert (names.count("logistic"), names.count("tanh")) == expected
    assert {shape for _, shape in found} == {(2, 4)}


def test_shares_add_up():
    rows = [
        {"cell": "lstm", "shape": "small", "contender": name, "median": ms, "quartiles": [ms / 2, ms]}
        for name, ms in {shares.WHOLE: 8.0, shares.PRODUCTS: 4.0, shares.TRANSCENDENTAL: 1.0}.items()
    ]
    found = shares.ratios({"rows": rows}, "lstm")
    assert [part["small"].median for part in found.values()] == [0.5, 0.125, 0.375]
    assert sum(part[results.MEAN].lower for part in found.values()) == pytest.approx(1)


def test_a_quotient_of_polynomials_is_the_sigmoid_to_2e_6():
    x = np.linspace(-30, 30, 20_001, dtype=np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(cpu_ideas.by_quotient(x), exact, rtol=0, atol=2e-6)
    slope = jax.vmap(jax.grad(cpu_ideas.by_quotient))(x)
    np.testing.assert_allclose(slope, exact * (1 - exact), rtol=0, atol=2e-6)


def test_shapes_by_name_and_in_numbers():
    assert shape_of("large") == SHAPES["large"] == Shape(32, 32, 512, 1024)
    assert shape_of("1,2,3,4") == Shape(B=1, T=2, D=3, H=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--shapes", "tall"],
            "shape is 'tall', expected one of small, medium, large, stream, deep, wide, rows, 16k, tiny, or B,T,D,H",
        ),
        (["--repeats", "0"], "--repeats is 0, expected 1 or more"),
        (["--only", "speed"], "invalid choice: 'speed'"),
        (["--out", "/dev/null/here"], "--out /dev/null/here cannot be written: Not a directory; name another folder"),
    ],
)
def test_bad_options_get_one_line_and_status_2(capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        run_all(options)
    assert message in capsys.readouterr().err


def test_all_runs_each_script_in_a_process_of_its_own(monkeypatch, tmp_path):
    commands = []

    class Done:
        returncode = 0

    monkeypatch.setattr("subprocess.run", lambda command, check: commands.append(command[1:]) or Done())
    assert run_all([*OPTIONS, "--only", "memory", "scaling", "--out", str(tmp_path)]) == 0
    assert [command[:2] for command in commands] == [["-m", "benchmarks.memory"], ["-m", "benchmarks.scaling"]]
    given = " ".join(commands[0][2:])
    assert (
        given == f"--cells elman --peers flax_linen --seed 7 --out {tmp_path} --quick"
    )  # what is not given is its own


@pytest.mark.every
def test_all_runs_from_the_command_line(tmp_path):
    options = ["--only", "memory", "--quick", "--cells", "elman", "--peers", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Elman training, MiB" in done.stdout and "memory.json and memory.png written" in done.stdout


def figure(path):
    result = results.load(path)
    return report.SCRIPTS[result["question"]].QUESTION.draw(result)


@pytest.mark.every
def test_no_two_series_share_a_colour_and_log_axes_carry_no_bars(runs):
    for path in (*runs.glob("*/*.json"), *report.RESULTS.glob("*/*.json")):
        colours = {}
        for ax in figure(path).axes:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                colour = handle.patches[0].get_facecolor() if hasattr(handle, "patches") else handle.get_color()
                colours.setdefault(to_hex(colour), set()).add(label)
            assert not (ax.patches and "log" in (ax.get_xscale(), ax.get_yscale())), path
        assert all(len(labels) == 1 for labels in colours.values()), (path, colours)


@pytest.mark.parametrize("name", ["linear", "compile_time"])
def test_numbers_and_names_on_axes_do_not_touch(name):
    (path,) = report.RESULTS.glob(f"*/{name}.json")
    drawn = figure(path)
    FigureCanvasAgg(drawn).draw()
    for axis in [axis for ax in drawn.axes for axis in (ax.xaxis, ax.yaxis)]:
        boxes = [tick.get_window_extent() for tick in axis.get_ticklabels() if tick.get_visible() and tick.get_text()]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_short_logarithmic_axis_has_numbers():
    rows = [{"shape": "small", "contender": name, "median": ms} for name, ms in (("a", 12.8), ("b", 14.3))]
    (ax,) = plots.grid([[plots.Panel("", rows)]]).axes
    low, high = ax.get_xlim()
    assert low < 12.8 and high > 14.3 and sum(low <= tick <= high for tick in ax.get_xticks()) >= 2


@pytest.mark.every
def test_report_is_idempotent_and_names_every_figure(runs):
    section = report.section(runs)
    text = f"# jaxrnn\n\n{report.BEGIN}\n{report.END}\n\nMore.\n"
    once = report.rewrite(text, section)
    assert report.rewrite(once, section) == once
    assert once.startswith("# jaxrnn\n") and once.endswith("\n\nMore.\n")
    for words in (
        "| Elman, training |",
        "| Elman, forward |",
        "against_peers.png",
        "characters.png",
        "remat='carries' / flax linen",
        "| forward, share of the time: matrix products |",
        results.LEGEND,
        "vmap",
    ):
        assert words in section
    assert report.rewrite(once, "") == report.rewrite(text, "")


@pytest.mark.parametrize(
    "text", ["no markers", report.BEGIN, report.END + report.BEGIN, 2 * (report.BEGIN + report.END)]
)
def test_report_needs_its_markers(text):
    with pytest.raises(ValueError, match="no single <!-- benchmarks:begin -->"):
        report.rewrite(text, "")


def test_report_command_rewrites_both_files(runs, tmp_path, capsys):
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    for file in (page, readme):
        file.write_text(f"{report.BEGIN}\n{report.END}\n")
    options = ["--results", str(runs), "--page", str(page), "--readme", str(readme)]
    assert report.main([*options, "--redraw"]) == 0 and report.main(options) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{page}: rewritten" and said[2:] == [f"{file}: already current" for file in (page, readme)]
    assert report.section(runs) in page.read_text()


def test_readme_shows_the_latest_run_of_all_cells(tmp_path):
    assert report.summary(tmp_path) == ""
    text = report.summary()
    for cell in ("LSTM", "GRU", "Elman"):
        assert f"| {cell}, forward |" in text and f"| {cell}, training |" in text
    for name, shape in SHAPES.items():
        assert f"| {name} | {' | '.join(map(str, shape))} |" in text
    assert "against_peers.png" in text and results.LEGEND in text


@pytest.mark.parametrize(("path", "made"), [(report.PAGE, report.section), (report.README, report.summary)])
def test_pages_have_the_committed_results(path, made):
    """What the report makes of them: nothing as long as there are none."""
    text = path.read_text()
    assert report.rewrite(text, made()) == text


def test_committed_results_can_be_read():
    for path in report.RESULTS.glob("*/*.json"):
        result = json.loads(path.read_text())
        assert result["question"] == path.stem
        assert path.with_suffix(".png").exists()
        assert set(result["environment"]["arguments"]["peers"]) == set(PEERS)
