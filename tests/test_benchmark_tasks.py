"""The tasks that cells are trained on: what is drawn fits the models, no run is made twice, the best rate is taken."""

import json
import math
from argparse import Namespace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from benchmarks import tasks
from benchmarks.peers import Field
from benchmarks.tasks import training
from benchmarks.tasks.journal import Journal, Run
from benchmarks.tasks.models import dense_state, several_steps
from benchmarks.tasks.problems import CONTENDERS, PROBLEMS
from benchmarks.tasks.recorded import all_steps, mean_of_steps
from benchmarks.tasks.training import Data, Outcome, learner

pytestmark = pytest.mark.usefixtures("quick_compilation")

ARGS = {"quick": True, "seed": 0, "tasks": ["adding"], "cells": ["lstm", "gru"]}
FIRST = {cell: name for name in reversed(PROBLEMS) for cell in PROBLEMS[name](True).contenders}  # where it is met first
RUN = Run("adding", "lstm", 0.1, 0, 10, "narrow", 10, 0.5, {"": 0.4}, 7)


@pytest.mark.sampled
@pytest.mark.parametrize("name", PROBLEMS)
def test_what_a_problem_draws_fits_its_models(name):
    problem = PROBLEMS[name](True)
    data, key = problem.data(), jax.random.key(0)
    for draw in (data.train, data.valid, *data.tests.values()):
        inputs, targets, mask = jax.eval_shape(draw, key)[:3]
        assert mask.shape == targets.shape[:2] in (inputs.shape[:2], (1, inputs.shape[1]))
    batch = jax.eval_shape(data.train, key)
    for cell in [cell for cell in problem.contenders if cell == "elman" or FIRST[cell] == name]:
        model = problem.contenders[cell](problem.size.width, problem.alphabet, problem.outputs)

        def outputs(key, *batch, model=model):
            lengths = batch[3] if len(batch) > 3 else None
            return jaxrnn.unroll(model, model.init(key, data.width), batch[0], lengths=lengths)[1]

        ys = jax.eval_shape(outputs, key, *batch)
        assert ys.shape[0] >= len(batch[2]) and ys.shape[1:] == (*batch[2].shape[1:], problem.outputs), cell


@pytest.mark.parametrize("name", ["copying", "associative_recall", "parity", "s3"])
def test_classes_are_among_the_outputs_and_later_steps_alone_are_tested(name):
    problem = PROBLEMS[name](True)
    for draw in problem.data().tests.values():
        inputs, targets, mask = jax.jit(draw)(jax.random.key(0))
        assert inputs.max() < problem.alphabet and targets.min() >= 0 and targets.max() < problem.outputs
        assert mask.any() and (name not in ("parity", "s3") or not mask[:4].any())


def test_chance_of_copying_is_the_loss_without_memory():
    problem = PROBLEMS["copying"](True)
    _, targets, mask = problem.data().valid(jax.random.key(0))
    assert mask.all()
    guesses = jnp.where(
        jnp.arange(len(targets)) < 5, jnp.array([[0.0], [-1e9], [-1e9]]), jnp.array([[-1e9], [0.0], [0.0]])
    )
    ys = jnp.broadcast_to(guesses.T[:, None], (*targets.shape, 3))
    assert float(training.cross_entropy(ys, targets, mask)) == pytest.approx(problem.chance)


def test_scores_are_means_over_the_scored_steps():
    rng = np.random.default_rng(0)
    ys, mask = rng.normal(size=(5, 4, 3)).astype(np.float32), rng.random((5, 4)) < 0.5
    targets = rng.integers(0, 3, (5, 4))
    given = tuple(map(jnp.asarray, (ys, targets, mask)))
    assert float(training.accuracy(*given)) == pytest.approx((ys.argmax(-1) == targets)[mask].mean())
    log = ys - np.log(np.exp(ys).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log, targets[..., None], -1)[..., 0]
    assert float(training.cross_entropy(*given)) == pytest.approx(-chosen[mask].mean(), rel=1e-5)
    aims = rng.normal(size=ys.shape).astype(np.float32)
    error = training.squared_error(given[0], jnp.asarray(aims), given[2])
    assert float(error) == pytest.approx(((ys - aims) ** 2).mean(-1)[mask].mean(), rel=1e-5)
    assert math.isnan(training.accuracy(given[0].at[0].set(jnp.nan), *given[1:]))


def test_several_steps_are_those_of_the_finer_sequence():
    contender = dense_state(jaxrnn.gru)
    model, inner = several_steps(contender, 2)(3, 2, 4), contender(3, 4, 4)
    params, tokens = model.init(jax.random.key(0), None), jnp.array([[0, 1], [1, 1], [1, 0]])
    finer = jnp.array([[0, 2], [1, 3], [2, 2], [3, 3], [2, 0], [3, 1]])
    ys = jaxrnn.unroll(inner, params, finer)[1]
    np.testing.assert_allclose(jaxrnn.unroll(model, params, tokens)[1], ys[1::2], atol=1e-6)


def test_readouts_of_whole_sequences():
    xs, lengths = jax.random.normal(jax.random.key(0), (3, 2, 4)), jnp.array([3, 2])
    flat = all_steps(3, 5)
    params = flat.init(jax.random.key(1), 4)
    ys = jaxrnn.unroll(flat, params, xs)[1]
    kernel, bias = (np.asarray(params[name]) for name in ("kernel", "bias"))
    by_hand = np.einsum("tbd,tdo->bo", np.asarray(xs), kernel.reshape(3, 4, 5)) + bias.reshape(5)
    np.testing.assert_allclose(ys, np.broadcast_to(by_hand, ys.shape), atol=1e-5)
    mean = mean_of_steps(5)
    params = mean.init(jax.random.key(1), 4)
    ys = jaxrnn.unroll(mean, params, xs, lengths=lengths)[1]
    for row, length in enumerate(lengths):
        by_hand = xs[:length, row].mean(0) @ params["kernel"].reshape(4, 5) + params["bias"].reshape(5)
        np.testing.assert_allclose(ys[0, row], by_hand, atol=1e-5)


def test_a_run_ends_when_its_task_is_solved_or_it_diverged():
    def draw(key):
        xs = jax.random.normal(key, (2, 3, 1))
        return xs, xs, jnp.ones((2, 3), bool)

    model, data = jaxrnn.stack(jaxrnn.dense(1)), Data(draw, draw, {"": draw, "other": lambda key: draw(key)}, 1)
    learned = learner(model, data, training.squared_error, training.squared_error, 10)
    whole = learned(0.1, 0, 40, lambda score: False)
    assert whole.updates == 40 and set(whole.tests) == {"", "other"} and whole.parameters == 2
    assert whole == learned(0.1, 0, 40, lambda score: False) and whole != learned(0.1, 1, 40, lambda score: False)
    assert whole != learned(0.1, 0, 40, lambda score: False, falling=True)
    by_loss = learner(model, data, training.squared_error, training.squared_error, 10, lambda ys, *rest: ys.mean() - 9)
    ranked = by_loss(0.1, 0, 40, lambda score: False)
    assert ranked.valid < -8 and ranked.tests == whole.tests
    assert learned(0.1, 0, 40, lambda score: True).updates == 10
    answers = iter([True, False, True, True])
    assert learned(0.1, 0, 60, lambda score: next(answers), patience=2).updates == 40
    lost = learned(1e30, 0, 40, lambda score: False)
    assert lost.updates < 40 and not math.isfinite(lost.valid)


@pytest.fixture
def calls(monkeypatch):
    """The runs that are made, of a learner that learns nothing; the middle rate is the best."""
    made = []

    def learned(rate, seed, updates, solved, patience, falling):
        if len(made) == calls_until_interrupted[0]:
            raise KeyboardInterrupt
        made.append((rate, seed, updates))
        score = abs(math.log(rate / 0.01)) + 0.01 * seed + 0.1
        return Outcome(updates, score, {"": score}, 5)

    calls_until_interrupted = [None]
    monkeypatch.setattr(tasks, "learner", lambda *args: learned)
    made_until = (made, calls_until_interrupted)
    return made_until


def test_no_run_is_made_twice(calls, tmp_path):
    made, interrupted = calls
    interrupted[0] = 8
    args, field = Namespace(**ARGS, out=tmp_path), Field(())
    rows = tasks.measure(args, field)
    assert [row["contender"] for row in rows] == ["lstm"]  # the third run of the GRU was not begun
    assert field.skipped == {"adding, gru": "its runs are not finished"}
    interrupted[0] = None
    with (tmp_path / "tasks.jsonl").open("a") as file:
        file.write('{"task": "adding", "contender"')  # a line that was cut off
    rows = tasks.measure(args, field)
    assert len(made) == 12 == len(set(made)) * 2 and field.skipped == {}
    assert [row["contender"] for row in rows] == ["lstm", "gru"]
    assert rows == tasks.measure(args, field) and len(made) == 12
    row = rows[0]
    assert row["learning_rate"] == 0.01 and row["samples"] == pytest.approx([0.1, 0.11, 0.12])
    assert row["median"] == pytest.approx(0.11) and set(row["tried"]) == {"0.004", "0.01", "0.025"}
    other = Namespace(**ARGS | {"seed": 9}, out=tmp_path)
    tasks.measure(other, field)
    assert len(made) == 24  # other seeds are other runs


def test_a_package_that_is_not_installed_is_named(calls, tmp_path, monkeypatch):
    def missing():
        raise ImportError("mnist1d: the package mnist1d is not installed")

    problem = PROBLEMS["adding"](True)._replace(data=missing)
    monkeypatch.setitem(PROBLEMS, "adding", lambda quick: problem)
    field = Field(())
    assert tasks.measure(Namespace(**ARGS, out=tmp_path), field) == []
    assert field.skipped == dict.fromkeys(
        ["adding, lstm", "adding, gru"], "mnist1d: the package mnist1d is not installed"
    )


def test_a_run_that_ended_early_stands_for_longer_ones(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    find = partial(journal.find, "adding", "lstm", 0.1, 0, setting="narrow")
    journal.add(RUN)
    assert find(10) == RUN and find(20) is None  # it was not solved within 10, but may be within 20
    quick = journal.add(RUN._replace(limit=9, updates=5))
    assert find(20) == find(5) == quick and find(4) is None
    assert Journal(tmp_path / "runs.jsonl").runs == [RUN, quick]
    assert json.loads((tmp_path / "runs.jsonl").read_text().splitlines()[0])["tests"] == {"": 0.4}


def test_the_best_rate():
    adding, parity = PROBLEMS["adding"](True), PROBLEMS["parity"](True)
    runs = [RUN._replace(rate=i, valid=valid) for i, valid in enumerate([0.5, None, 0.3])]
    assert tasks.best(adding, runs).rate == 2 and tasks.best(parity, runs).rate == 0
    assert tasks.best(PROBLEMS["japanese_vowels"](True), runs).rate == 2  # ranked by loss, though accuracy is reported
    solved = [RUN._replace(rate=3, valid=1e-4, updates=8), RUN._replace(rate=4, valid=1e-3, updates=5)]
    assert tasks.best(adding, runs + solved).rate == 4  # the quickest of those that solved it


def test_a_run_that_diverged_counts_as_chance(calls, tmp_path, monkeypatch):
    lost = Outcome(3, math.nan, {"": math.nan}, 5)
    monkeypatch.setattr(tasks, "learner", lambda *args: lambda rate, seed, *rest: lost)
    (row,) = tasks.measure(Namespace(**ARGS | {"cells": ["lstm"]}, out=tmp_path), Field(()))
    assert row["samples"] == [1 / 6] * 3 and row["diverged"] == 3
    shown = tasks.show({"rows": [row]})
    assert "diverged" in shown and "Chance: 0.167" in shown and len(CONTENDERS) > 10
