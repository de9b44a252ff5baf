"""The benchmark of accelerators as far as a CPU can try it: work counted, runs resumed, targets judged."""

import json
import math
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import accelerator, plots, results
from benchmarks.__main__ import NAMED, QUESTIONS
from benchmarks.__main__ import main as run_all
from benchmarks.accelerator import clock, contenders, figure, roofline, tables, targets, trial
from benchmarks.accelerator.jobs import LINEAR, SCAN, Job, case_of, planned
from benchmarks.accelerator.journal import Done, Journal
from benchmarks.accelerator.roofline import PEAKS, Peaks
from benchmarks.harness import main, parse, parser
from benchmarks.peers import Field, NotOffered
from benchmarks.problems import ACCELERATOR_SHAPES, CELLS, Shape, make_case
from benchmarks.timing import round_robin

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = Job("elman", "tiny", "float32", False)
OPTIONS = ["--quick", "--cells", "elman", "--peers", "flax_linen", "--dtypes", "float32"]
ENVIRONMENT = {"devices": ["gpu: NVIDIA H100 80GB HBM3"]}


def options(*argv):
    given = parser("", accelerator.QUESTION.cells, ACCELERATOR_SHAPES)
    accelerator.extend(given)
    return parse(given, [*argv, "--out", "/tmp"], ACCELERATOR_SHAPES)


@pytest.fixture(scope="module")
def result(tmp_path_factory, quick_compilation):
    out = tmp_path_factory.mktemp("accelerator")
    return main(accelerator.QUESTION, [*OPTIONS, "--out", str(out)]), out


def test_every_contender_is_timed_with_and_without_graphs(result):
    rows = results.pick(result[0]["rows"], cell="elman")
    assert len(rows) + 4 == len(result[0]["rows"])  # of the peaks
    assert [(row["graphs"], row["what"], row["contender"]) for row in rows] == [
        (graphs, what, name)
        for graphs in (False, True)
        for what in ("forward", "training")
        for name in ("jaxrnn", "flax linen")
    ]
    for row in result[0]["rows"]:
        assert row["median"] > 0 and len(row["samples"]) == 7
    assert all(row["deviation"] < 1e-4 and row["compile_s"] > 0 and row["mib"] >= 0 for row in rows)


def test_a_linear_recurrence_takes_turns_with_the_scans_of_jax(monkeypatch, tmp_path):
    monkeypatch.setattr(contenders, "ELEMENTWISE_METHODS", ("auto", "kernel"))
    bench = trial.Bench(Field([]), Journal(tmp_path / "x", ""), clock.Budget(9), seed=0, repeats=1)
    done = bench.run(Job(SCAN, "tiny", "bfloat16", False))
    assert {it["contender"] for it in done.rows} == {"jaxrnn", "loop of lax.scan", "lax's associative scan"}
    (said,) = done.skipped.values()
    assert said.startswith("not for this shape: linear_scan: method is 'kernel', expected one of 'auto', 'scan'")


def test_who_cannot_take_part_is_told(result):
    skipped = result[0]["skipped"]
    assert skipped["jaxrnn: kernel, elman tiny float32"] == "jaxrnn.methods names no 'kernel' for elman on cpu"
    assert skipped["flashrnn, elman tiny float32"].endswith("is not installed; it is optional")
    assert accelerator.LATER not in skipped.values()


def test_terminal_and_plot_have_every_figure(result):
    shown = tables.show(result[0])
    for words in ("float32 product", "Elman, tiny (2×5×3×4), float32", "jaxrnn, graphs", "weights read in each step"):
        assert words in shown
    assert shown.count(targets.NOT_MEASURED) == 3 and "no H100 here" in shown
    drawn = figure.draw(result[0])
    titles = [ax.get_title(loc="left") for ax in drawn.axes]
    assert titles == [f"Elman, {what}, float32" for what in trial.WHATS]
    assert set(drawn.axes[0].get_legend_handles_labels()[1]) == {"jaxrnn", "flax linen", "bound"}
    markers = [line.get_marker() for line in drawn.axes[0].get_lines()]
    assert markers.count("s") == markers.count("o") == 2 and markers.count("|") == 1
    assert figure.draw({"rows": []}).axes[0].get_title(loc="left") == "nothing was measured"
    assert (result[1] / "accelerator.png").exists() and (result[1] / "accelerator.json").exists()


def test_the_same_command_makes_nothing_twice(result, monkeypatch):
    monkeypatch.setattr(trial.Bench, "run", lambda self, job: pytest.fail(f"{job} again"))
    again = main(accelerator.QUESTION, [*OPTIONS, "--out", str(result[1])])
    assert again["rows"] == result[0]["rows"] and again["skipped"] == result[0]["skipped"]


def test_rows_of_another_setting_are_not_taken(monkeypatch):
    args = options("--peers", "haiku")
    found = {accelerator.setting(args), accelerator.setting(options("--peers", "haiku"))}
    assert len(found) == 1
    for name, value in (("repeats", 3), ("seed", 1), ("quick", True), ("peers", [])):
        found.add(accelerator.setting(Namespace(**vars(args) | {name: value})))
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=")
    found.add(accelerator.setting(args))
    assert len(found) == 6


def test_without_time_nothing_begins_and_it_is_said(tmp_path, capsys):
    found = main(accelerator.QUESTION, [*OPTIONS, "--minutes", "0.01", "--out", str(tmp_path)])
    assert {row["cell"] for row in found["rows"]} == {PEAKS}
    assert found["skipped"] == dict.fromkeys(["elman tiny float32", "elman tiny float32, graphs"], accelerator.LATER)
    assert accelerator.LATER in capsys.readouterr().out.replace("\n", " ")


def test_it_needs_an_accelerator_or_to_be_asked_for_tiny_shapes(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(accelerator.QUESTION, ["--peers", "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert said == "accelerator: JAX finds no accelerator here; --quick tries everything on tiny shapes\n"
    assert NAMED == ("accelerator",) and not set(NAMED) & set(QUESTIONS)


def test_it_keeps_its_own_defaults_among_all_scripts(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(
        "subprocess.run", lambda command, check: commands.append(command) or SimpleNamespace(returncode=0)
    )
    assert run_all(["--only", "accelerator", "memory", "--peers", "torch", "--out", str(tmp_path)]) == 0
    alone, other = (" ".join(command[3:]) for command in commands)
    assert alone == f"--peers torch --out {tmp_path}"
    assert "--shapes small medium large stream" in other and "--repeats 20" in other and "--seed" in other


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan"])
def test_minutes_are_positive(text):
    with pytest.raises(ArgumentTypeError, match=f"is {text}, expected more than 0"):
        accelerator.positive(text)


def test_the_most_important_jobs_come_first():
    jobs = planned(options())
    assert jobs[:2] == [Job("lstm", "deep", dtype, False) for dtype in ("float32", "bfloat16")]
    assert jobs[2] == Job(SCAN, "16k", "float32", False)
    assert len(jobs) == len(set(jobs)) == (3 * 3 + 4) * 3 * 2
    assert {job.shape for job in jobs if job.cell in LINEAR} == {"16k"}
    assert {job.shape for job in jobs if job.cell in CELLS} == {"deep", "wide", "rows"}
    assert not any(job.graphs for job in planned(options("--graphs", "without")))
    assert {job.dtype for job in planned(options("--dtypes", "float16", "--shapes", "1,2,3,4"))} == {"float16"}
    assert options().repeats == 7 and options().seed == 0
    assert str(Job("lstm", "deep", "bfloat16", True)) == "lstm deep bfloat16, graphs"


@pytest.mark.parametrize("cell", CELLS)
def test_work_of_dense_cells_is_that_of_their_shapes(cell):
    case = make_case(cell, Shape(2, 5, 3, 4), seed=0, dtype="bfloat16")
    found, gates = roofline.work(case), {"lstm": 4, "gru": 3, "elman": 1}[cell]
    weights = gates * 4 * (3 + 4 + 1) + (4 if cell == "gru" else 0)
    assert found["forward"].flop == case.forward_flops and found["training"].flop == 3 * case.forward_flops
    assert found["forward"].bytes == 2 * (5 * 2 * 3 + weights + 5 * 2 * 4)
    assert found["training"].bytes == 2 * (2 * 5 * 2 * 3 + 2 * weights + 5 * 2 * 4)
    assert found["forward"].bytes_again - found["forward"].bytes == 2 * 4 * gates * 4 * 4
    assert found["training"].bytes_again - found["training"].bytes == 2 * 2 * 4 * gates * 4 * 4


def test_work_of_linear_recurrences():
    scan = roofline.work(case_of(Job(SCAN, "2,5,3,4", "float32", False), 0))
    assert scan["forward"] == (0, 4 * 3 * 40, 4 * 3 * 40) and scan["training"] == (0, 4 * 5 * 40, 4 * 5 * 40)
    min_gru = roofline.work(case_of(Job("min_gru", "2,5,3,4", "float32", False), 0))
    assert min_gru["forward"].flop == 2 * 10 * 3 * 2 * 4
    gla = roofline.work(case_of(Job("gla", "2,5,3,8", "float32", False), 0))["forward"].flop
    projections = 2 * 10 * (4 * 3 * 8 + 8 * 8 + 3 * 16 + 16 * 8)  # query, key, value, gate; out; both of the decay
    assert gla >= projections + 2 * 10 * 4 * 2 * 2  # and each query with its state


def test_products_in_loops_count_once_a_step_and_in_branches_too():
    def run(x):
        def step(h, x):
            return jax.lax.cond(h.sum() > 0, lambda: h @ h, lambda: h), None

        return jax.lax.scan(step, x, jnp.zeros(7))[0]

    assert roofline.products(jax.make_jaxpr(run)(jnp.ones((3, 3))).jaxpr) == 7 * 2 * 27


def test_the_bound_is_what_takes_longer():
    peaks = Peaks({"float32": 1e9}, 1e6)
    assert peaks.milliseconds("float32", 2e9, 1e6) == 2e3 and peaks.milliseconds("float32", 2e9, 5e6) == 5e3
    rows = [
        {"cell": PEAKS, "contender": "float32", "flop": 4e9, "bytes": 0, "median": 2.0},
        {"cell": PEAKS, "contender": "copy", "flop": 0, "bytes": 3e6, "median": 1.5},
    ]
    assert roofline.peaks(rows) == Peaks({"float32": 2e12}, 2e9) and roofline.peaks(rows[:1]) is None


def test_a_turn_hides_what_the_host_does(monkeypatch):
    now, free = [0.0], [0.0]  # of the host, and from when on the device has nothing to do

    class Program:
        def launch(self):
            now[0] += 0.001
            free[0] = max(free[0], now[0]) + 0.004

        def __call__(self):
            self.launch()
            now[0] = free[0] + 0.002

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    count = clock.in_flight(0.007)
    assert count == 5 and clock.turn(Program()) == pytest.approx((0.001 + count * 0.004 + 0.002) / count * 1e3)
    assert clock.in_flight(1.0) == 1 and clock.in_flight(0.0) == clock.MOST


def test_rounds_of_a_device_are_not_made_again(monkeypatch):
    monkeypatch.setattr("benchmarks.environment.Bystanders.cores", lambda self: 3.0)
    numbers = iter(range(9))
    assert round_robin({"a": lambda: None}, 3, turn=lambda call: next(numbers), again=False) == {"a": [0, 1, 2]}


def test_another_function_is_not_timed(monkeypatch, tmp_path):
    real = contenders.ours

    def wrong(case, method, remat=None):
        made = real(case, "auto" if remat is None else "scan", remat)
        if method != "kernel":
            return made

        def training(self=made.training):
            gradients, gradient = self()
            return {name: 2 * array for name, array in gradients.items()}, gradient

        return replace(made, name="jaxrnn: kernel", training=training)

    monkeypatch.setattr(contenders, "ours", wrong)
    bench = trial.Bench(Field([]), Journal(tmp_path / "x", ""), clock.Budget(9), seed=0, repeats=1)
    done = bench.run(TINY)
    assert {row["contender"] for row in done.rows} == {"jaxrnn"} and done.complete
    said = done.skipped["jaxrnn: kernel, elman tiny float32"]
    assert said.startswith("jaxrnn: kernel: gradients of bias of elman tiny float32 deviate by 1.0e+00 from")


def test_reasons_are_one_line():
    assert trial.reason(NotOffered("it has no such cell")) == "it has no such cell"
    assert trial.reason(ValueError("H is 768\nmore"), ours=True) == "not for this shape: H is 768"
    assert trial.reason(ValueError("H is 768")) == "failed with ValueError: H is 768"
    assert trial.reason(RuntimeError(), ours=True) == "failed with RuntimeError: "


def test_a_device_that_fails_ends_the_run_and_its_cause_is_given_up(monkeypatch, tmp_path):
    def breaks(case, method, remat=None):
        monkeypatch.setattr(trial.jnp, "zeros", lambda n: 1 / 0)
        raise RuntimeError("illegal address")

    args = options(*OPTIONS[:3], "--graphs", "without", "--dtypes", "float32")
    args.out = tmp_path
    monkeypatch.setattr(contenders, "ours", breaks)
    with monkeypatch.context() as patch:
        patch.setattr(roofline, "measured", lambda *args, small: [])
        rows = accelerator.measure(args, Field([]))
    assert rows == []
    journal = Journal(tmp_path / "accelerator.jsonl", accelerator.setting(args))
    assert journal.given_up(TINY) == {"jaxrnn"}


def test_what_brings_the_process_down_twice_is_given_up(tmp_path):
    def opened():
        return Journal(tmp_path / "runs.jsonl", "H100")

    journal = opened()
    for name in ("auto", "kernel"):
        journal.begin(TINY, name)
    assert opened().given_up(TINY) == set()  # it may have been a limit of time
    journal = opened()
    journal.interrupted(TINY)
    for name in ("auto", "kernel"):
        journal.begin(TINY, name)
    assert opened().given_up(TINY) == set()
    journal = opened()
    for name in ("auto", "kernel"):
        journal.begin(TINY, name)
    assert opened().given_up(TINY) == {"kernel"}
    journal = opened()
    for name in ("auto", "torch"):
        journal.begin(TINY, name)
    assert opened().given_up(TINY) == {"kernel"}
    done = Done([{"median": 1.0}], {"kernel": "given up"}, True)
    journal.end(TINY, done)
    assert opened().done(TINY) == done and opened().done(TINY._replace(graphs=True)) is None
    assert Journal(tmp_path / "runs.jsonl", "A100").done(TINY) is None
    assert opened().given_up(TINY) == {"kernel"}


def row(cell, contender, ms, kind, **more):
    about = {"cell": cell, "shape": "deep", "dtype": "float32", "graphs": False, "what": "forward"}
    return about | {"contender": contender, "kind": kind, "median": ms, "bytes": 4e9, "flop": 0} | more


def judged(rows):
    lines = targets.told({"rows": rows, "environment": ENVIRONMENT}).splitlines()[2:]
    return [[*map(str.strip, line.split("  "))] for line in lines]


def test_targets_take_the_worst_case_and_say_what_is_not_measured():
    rows = [
        row("lstm", "torch", 2.0, "torch"),
        row("lstm", "jaxrnn: cudnn", 2.2, "ours"),
        row("lstm", "jaxrnn", 7.0, "ours"),
        row("lstm", "keras", 2.1, "jax"),  # cuDNN's: no loop
        row("lstm", "flax linen", 28.0, "jax"),
        row("lstm", "haiku", 21.0, "jax"),
        row("lstm", "jaxrnn", 1.0, "ours", graphs=True),
        row(SCAN, "jaxrnn", 4.0, "ours"),
        row(SCAN, "jaxrnn: chunked", 2.5, "ours"),
        row(PEAKS, "copy", 1.0, None, bytes=2e9),
    ]
    met = [[cell for cell in line if cell][1:] for line in judged(rows)]
    assert met == [
        ["≤ 1.2", "1.1", "yes", "lstm deep float32, forward"],
        ["≤ 3", "3.5", "no", "lstm deep float32, forward"],
        ["≥ 2", "3", "yes", "haiku, lstm deep float32, forward"],
        ["≥ 0.7", "0.8", "yes", "jaxrnn: chunked, linear_scan deep float32, forward"],
    ]
    assert all(targets.NOT_MEASURED in line for line in judged([]))


def test_a_peer_that_is_left_out_of_graphs_is_xlas_alone():
    case, field = make_case("lstm", Shape(2, 3, 4, 4), 0), Field(["flax_linen"])
    field.modules["torch"] = SimpleNamespace(contender=print)
    without, with_graphs = (
        [name for name, _ in contenders.entrants(Job("lstm", "tiny", "float32", graphs), case, field)]
        for graphs in (False, True)
    )
    ours = ["jaxrnn", "jaxrnn: cudnn", "jaxrnn: kernel"]
    assert without == [*ours, "torch", "flax_linen", "flashrnn"] and with_graphs == [*ours, "flax_linen"]


def test_a_long_axis_has_few_numbers():
    rows = [{"shape": "deep", "contender": name, "median": ms} for name, ms in (("a", 1e-3), ("b", 90.0))]
    (ax,) = plots.grid([[plots.Panel("", rows)]]).axes
    low, high = ax.get_xlim()
    shown = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert shown and all(math.log10(tick) == pytest.approx(round(math.log10(tick))) for tick in shown)


def test_data_are_the_same_in_every_dtype_and_the_result_is_plain_json(result):
    for cell in (SCAN, "lru"):
        a, b = (case_of(Job(cell, "tiny", dtype, False), 3) for dtype in ("float32", "float16"))
        np.testing.assert_array_equal(a.xs, b.xs)
        assert all((a.params[name] == b.params[name]).all() for name in a.params)
    assert json.loads(json.dumps(result[0]["rows"])) == result[0]["rows"]
