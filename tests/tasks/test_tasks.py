"""Tasks against solvers of one sequence, and their distributions against what their docstrings say of chance."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import tasks
from tasks import solvers

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Case(NamedTuple):
    draw: Callable[..., Any]
    solve: Callable[..., Any]
    length: int
    options: Mapping[str, Any] = MappingProxyType({})
    tolerance: float = 0.0


RECALL = {"pairs": 3, "keys": 5, "values": 4}
CASES = {
    "adding": Case(tasks.adding, solvers.adding, 9),
    "adding, shortest": Case(tasks.adding, solvers.adding, 2),
    "copying": Case(tasks.copying, solvers.copying, 11, {"memory": 3, "symbols": 4}),
    "copying, shortest": Case(tasks.copying, solvers.copying, 7, {"memory": 3, "symbols": 4}),
    "selective copying": Case(tasks.selective_copying, solvers.selective_copying, 11, {"memory": 3, "symbols": 4}),
    "selective, shortest": Case(tasks.selective_copying, solvers.selective_copying, 6, {"memory": 3, "symbols": 4}),
    "parity": Case(tasks.parity, solvers.modular_counting, 12),
    "parity of one bit": Case(tasks.parity, solvers.modular_counting, 1),
    "counting": Case(tasks.modular_counting, solvers.modular_counting, 12, {"modulus": 5}),
    "s3": Case(tasks.s3, partial(solvers.word, things=3), 12),
    "s5": Case(tasks.s5, partial(solvers.word, things=5), 12),
    "recall": Case(tasks.associative_recall, solvers.associative_recall, 17, RECALL),
    "recall, shortest": Case(tasks.associative_recall, solvers.associative_recall, 12, RECALL),
    "sine": Case(tasks.noisy_sine, solvers.noisy_sine, 30, {"noise": 0.0}, 1e-4),
    "irregular": Case(tasks.irregular, solvers.irregular, 12, {}, 1e-5),
}
every_case = pytest.mark.parametrize("name", CASES)
BATCH = 5
KEY = jax.random.key(0)


@cache
def draw(name: str) -> Any:
    """A compiled program that draws a case from a key."""
    case = CASES[name]
    return jax.jit(partial(case.draw, batch=BATCH, length=case.length, **case.options))


def drawn(task: Any, batch: int, length: int, **options: Any) -> Any:
    return jax.jit(partial(task, batch=batch, length=length, **options))(KEY)


@pytest.mark.sampled
@every_case
def test_targets_are_those_of_a_solver(name: str) -> None:
    case = CASES[name]
    inputs, targets, mask = map(np.asarray, draw(name)(jax.random.key(3)))
    options = {} if name == "sine" else case.options
    for b in range(BATCH):
        expected, scored = case.solve(inputs[:, b], **options)
        np.testing.assert_array_equal(mask[:, b], scored)
        found = targets[:, b]
        if case.tolerance:
            np.testing.assert_allclose(found[scored], expected[scored], atol=case.tolerance)
        else:
            np.testing.assert_array_equal(found, expected.astype(found.dtype))


@every_case
def test_shapes_and_dtypes_are_those_documented_and_keys_matter(name: str) -> None:
    case = CASES[name]
    inputs, targets, mask = draw(name)(jax.random.key(1))
    assert inputs.shape[:2] == targets.shape[:2] == mask.shape == (case.length, BATCH) and mask.dtype == bool
    real = name.split(",")[0] in ("adding", "sine", "irregular")
    assert inputs.ndim == targets.ndim == (3 if real else 2)
    assert inputs.dtype == targets.dtype == (jnp.float32 if real else jnp.int32)
    again, other = (draw(name)(jax.random.key(seed))[0] for seed in (1, 8))
    assert np.array_equal(inputs, again) and not np.array_equal(inputs, other)


def test_a_task_is_of_32_bits_where_numbers_have_64(x64: Any) -> None:
    for case in CASES.values():
        shaped = jax.eval_shape(partial(case.draw, batch=2, length=case.length, **case.options), jax.random.key(0))
        assert [it.dtype.itemsize for it in shaped] == [4, 4, 1]


def test_chance_of_adding() -> None:
    inputs, targets, _ = map(np.asarray, drawn(tasks.adding, 20_000, 10))
    assert abs(((targets[-1] - 1) ** 2).mean() - 1 / 6) < 0.005
    marks = inputs[..., 1].mean(1)
    np.testing.assert_allclose(marks, 0.2, atol=0.02)  # each half has one mark, anywhere
    np.testing.assert_array_equal(inputs[:5, :, 1].sum(0), 1)


@pytest.mark.parametrize("name", ["copying", "selective copying"])
def test_symbols_are_uniform(name: str) -> None:
    case = CASES[name]
    inputs, targets, mask = map(np.asarray, drawn(case.draw, 5_000, 12, memory=3, symbols=4))
    shares = np.bincount(targets[mask], minlength=5) / mask.sum()
    np.testing.assert_allclose(shares, [0, *[0.25] * 4], atol=0.02)
    where = ((inputs > 0) & (inputs < 5)).mean(1)
    expected = [1] * 3 + [0] * 9 if name == "copying" else [1 / 3] * 9 + [0] * 3
    np.testing.assert_allclose(where, expected, atol=0.03)


@pytest.mark.parametrize(
    ("task", "classes"),
    [(tasks.parity, 2), (partial(tasks.modular_counting, modulus=3), 3), (tasks.s3, 6), (tasks.s5, 120)],
)
def test_the_last_target_is_uniform(task: Any, classes: int) -> None:
    _, targets, _ = drawn(task, 12_000, 20)
    shares = np.bincount(np.asarray(targets[-1]), minlength=classes) / 12_000
    assert shares.shape == (classes,)
    np.testing.assert_allclose(shares, 1 / classes, atol=4 * (1 / classes / 12_000) ** 0.5)


def test_keys_come_again_by_the_power_law() -> None:
    for power in (0.01, 1.0):
        inputs, _, mask = drawn(tasks.associative_recall, 20_000, 12, pairs=1, keys=3, values=3, power=power)
        inputs, mask = np.asarray(inputs), np.asarray(mask)
        weights = np.arange(1, 6) ** (power - 1)
        np.testing.assert_allclose(mask.mean(1)[2::2], weights / weights.sum(), atol=0.015)
        assert not mask[3::2].any()
    np.testing.assert_allclose(np.bincount(inputs[0], minlength=4)[1:] / 20_000, 1 / 3, atol=0.02)
    np.testing.assert_allclose(np.bincount(inputs[1], minlength=7)[4:] / 20_000, 1 / 3, atol=0.02)


def test_levels_of_the_sine() -> None:
    inputs, targets, _ = map(np.asarray, drawn(tasks.noisy_sine, 20_000, 9, noise=0.2))
    assert abs((targets**2).mean() - 0.5) < 0.01
    speeds = np.linspace(0.1, 0.6, 1001)
    assert abs((1 - np.cos(speeds)).mean() - 0.070) < 0.001
    assert abs(((targets - inputs) ** 2).mean() - 0.070 - 0.04) < 0.003
    assert abs((inputs[1:] - targets[:-1]).std() - 0.2) < 0.005


def test_levels_of_irregular_times() -> None:
    inputs, targets, _ = map(np.asarray, drawn(tasks.irregular, 40_000, 12))
    assert abs(inputs[..., 1].mean() - 1) < 0.01 and set(np.unique(inputs[..., 0])) == {-1.0, 1.0}
    assert abs((targets[-1] ** 2).mean() - 1.5) < 0.03
    best = np.zeros(40_000)
    for x in inputs[..., 0]:
        best = best / 2 + x  # what the impulses alone say
    assert abs(((targets[-1, :, 0] - best) ** 2).mean() - 1 / 6) < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks.adding(KEY, 2, 1), "adding: length is 1, expected 2 or more: one step for each mark"),
        (
            lambda: tasks.copying(KEY, 2, 20),
            "copying: length is 20, expected 21 or more: symbols, delimiter, answers at memory=10",
        ),
        (
            lambda: tasks.selective_copying(KEY, 2, 31),
            "selective_copying: length is 31, expected 32 or more: symbols and answers at memory=16",
        ),
        (
            lambda: tasks.modular_counting(KEY, 2, 5, modulus=1),
            "modular_counting: modulus is 1, expected 2 or more: every number is 0 modulo 1",
        ),
        (
            lambda: tasks.associative_recall(KEY, 2, 100, pairs=9, keys=8),
            "associative_recall: pairs is 9, expected 8 or less, the number of keys",
        ),
        (
            lambda: tasks.associative_recall(KEY, 2, 100, pairs=9, values=8),
            "associative_recall: pairs is 9, expected 8 or less, the number of values",
        ),
        (
            lambda: tasks.associative_recall(KEY, 2, 31),
            "associative_recall: length is 31, expected 32 or more: two steps for each of 8 pairs and two "
            "for its query",
        ),
        (
            lambda: tasks.noisy_sine(KEY, 2, 5, noise=-0.1),
            "noisy_sine: noise is -0.1, expected 0 or more, a standard deviation",
        ),
        (lambda: tasks.parity(KEY, 0, 5), "parity: batch is 0, expected an int of 1 or more"),
        (lambda: tasks.s3(KEY, 2, 0), "s3: length is 0, expected an int of 1 or more"),
        (lambda: tasks.s5(0, 2, 5), "s5: key is 0, expected a PRNG key such as jax.random.key(0)"),
        (
            lambda: jax.jit(tasks.irregular)(KEY, 2, 5),
            "irregular: batch is a traced value, expected an int of 1 or more; it decides what is compiled: make it "
            "static (static_argnames of jax.jit)",
        ),
    ],
)
def test_bad_sizes_get_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


def test_tasks_are_reached_by_the_name_of_the_package() -> None:
    assert all(callable(getattr(jaxrnn.tasks, name)) for name in tasks.__all__)
