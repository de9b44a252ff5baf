"""The benchmark of accelerators on a CPU: who takes part, what is refused, how a run goes on."""

import json
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import accelerator, results
from benchmarks.__main__ import NAMED, QUESTIONS
from benchmarks.__main__ import main as run_all
from benchmarks.accelerator import clock, contenders, figure, roofline, tables, targets, trial
from benchmarks.accelerator.jobs import LINEAR, SCAN, Job, case_of, planned
from benchmarks.accelerator.journal import Done, Journal
from benchmarks.accelerator.roofline import PEAKS
from benchmarks.harness import main, parse, parser
from benchmarks.peers import Field, NotOffered
from benchmarks.problems import ACCELERATOR_SHAPES, CELLS, Shape, make_case

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = Job("elman", "tiny", "float32", False)
OPTIONS = ["--quick", "--cells", "elman", "--peers", "flax_linen", "--dtypes", "float32"]


def options(*argv):
    given = parser("", accelerator.QUESTION.cells, ACCELERATOR_SHAPES)
    accelerator.extend(given)
    return parse(given, [*argv, "--out", "/tmp"], ACCELERATOR_SHAPES)


@pytest.fixture(scope="module")
def result(tmp_path_factory, quick_compilation):
    out = tmp_path_factory.mktemp("accelerator")
    return main(accelerator.QUESTION, [*OPTIONS, "--out", str(out)]), out


@pytest.mark.every
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
    assert said.startswith("not for this shape: linear_scan: method='kernel' has no program for platform 'cpu'")


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


def test_each_script_keeps_its_own_defaults_among_all(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(
        "subprocess.run", lambda command, check: commands.append(command) or SimpleNamespace(returncode=0)
    )
    assert run_all(["--only", "accelerator", "memory", "--peers", "torch", "--out", str(tmp_path)]) == 0
    assert [" ".join(command[3:]) for command in commands] == [f"--peers torch --out {tmp_path}"] * 2


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


def test_a_peer_that_is_left_out_of_graphs_is_xlas_alone():
    case, field = make_case("lstm", Shape(2, 3, 4, 4), 0), Field(["flax_linen"])
    field.modules["torch"] = SimpleNamespace(contender=print)
    without, with_graphs = (
        [name for name, _ in contenders.entrants(Job("lstm", "tiny", "float32", graphs), case, field)]
        for graphs in (False, True)
    )
    ours = ["jaxrnn", "jaxrnn: cudnn", "jaxrnn: kernel"]
    assert without == [*ours, "torch", "flax_linen", "flashrnn"] and with_graphs == [*ours, "flax_linen"]


def test_data_are_the_same_in_every_dtype_and_the_result_is_plain_json(result):
    for cell in (SCAN, "lru"):
        a, b = (case_of(Job(cell, "tiny", dtype, False), 3) for dtype in ("float32", "float16"))
        np.testing.assert_array_equal(a.xs, b.xs)
        assert all((a.params[name] == b.params[name]).all() for name in a.params)
    assert json.loads(json.dumps(result[0]["rows"])) == result[0]["rows"]
