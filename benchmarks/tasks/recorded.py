"""Problems of finite data sets, to be classified as wholes: MNIST-1D and JapaneseVowels."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from benchmarks.tasks.models import Contender
from benchmarks.tasks.problem import TINY, Problem, Size
from benchmarks.tasks.training import Batch, Data
from jaxrnn.types import Array, Cell, Layer, Params, Steps

HELD_OUT = 10  # every tenth sequence of the training data chooses the learning rate and is not learned from


class Recorded(NamedTuple):
    """Sequences `xs [T, B, D]` of these lengths, and their classes, int `[B]`."""

    xs: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray


def mnist1d(quick: bool) -> Problem:
    steps, size = (6, TINY) if quick else (40, Size(6, 100, 6000, 1500))
    read = partial(stand_in, steps, 1, 10) if quick else recorded_mnist1d

    def larger(width: int, alphabet: int | None, outputs: int) -> Layer:
        """Five times as wide, on features of small windows, at every second step."""
        del alphabet
        stem = jaxrnn.conv(5 * width, 5, stride=2, activation=jax.nn.gelu)
        return jaxrnn.stack(stem, jaxrnn.bidirectional(jaxrnn.gru(5 * width)), all_steps((steps + 1) // 2, outputs))

    return Problem(
        "MNIST-1D",
        "accuracy",
        lambda: data(*read(), size.batch),
        None,
        10,
        {
            "elman": both_ways(jaxrnn.elman, partial(all_steps, steps)),
            "lstm": both_ways(jaxrnn.lstm, partial(all_steps, steps)),
            "gru": both_ways(jaxrnn.gru, partial(all_steps, steps)),
            "gru_on_windows": larger,
        },
        (3e-3, 1e-2, 3e-2),
        size,
        0.1,
        None,
        "a GRU both ways with 5,134 parameters, the model here: 0.91; a CNN: 0.94; a human: 0.96 (Greydanus 2020, "
        "arXiv 2011.14439, and its repository)",
        falling=True,
    )


def japanese_vowels(quick: bool) -> Problem:
    size = TINY if quick else Size(48, 27, 1000, 500)
    read = partial(stand_in, 6, 3, 9) if quick else recorded_vowels
    cells = {"elman": jaxrnn.elman, "lstm": jaxrnn.lstm, "gru": jaxrnn.gru, "min_gru": jaxrnn.min_gru}
    return Problem(
        "JapaneseVowels",
        "accuracy",
        lambda: data(*read(), size.batch),
        None,
        9,
        {name: both_ways(cell, mean_of_steps) for name, cell in cells.items()},
        (1e-3, 3e-3, 1e-2),
        size,
        1 / 9,
        None,
        "0.98 and above: 0.989 for an LSTM with convolutions (MLSTM-FCN, Karim et al. 2019, arXiv 1801.04503)",
        falling=True,
    )


def both_ways(cell: Callable[[int], Cell], readout: Callable[[int], Layer]) -> Contender:
    """A recurrence from each end."""
    return lambda width, alphabet, outputs: jaxrnn.stack(jaxrnn.bidirectional(cell(width)), readout(outputs))


def all_steps(count: int, outputs: int) -> Layer:
    """One linear function of the features of all `count` steps; its value stands at every step."""
    linear = jaxrnn.dense(outputs)

    def run(params: Params, carry: Any, xs: Array, steps: Steps) -> tuple[Any, Array]:
        del steps  # all are valid
        flat = jnp.moveaxis(xs, 0, -2).reshape(1, *xs.shape[1:-1], count * xs.shape[-1])
        ys = jaxrnn.unroll(linear, params, flat)[1]
        return carry, jnp.broadcast_to(ys, (len(xs), *ys.shape[1:]))

    return jaxrnn.layer("all_steps", lambda key, width: linear.init(key, count * width), run)


def mean_of_steps(outputs: int) -> Layer:
    """One linear function of the mean of all valid steps; its value stands at every step."""
    linear = jaxrnn.dense(outputs)

    def run(params: Params, carry: Any, xs: Array, steps: Steps) -> tuple[Any, Array]:
        assert steps.valid is not None, "lengths are given"
        mean = xs.sum(0, keepdims=True) / steps.valid.sum(0, keepdims=True, dtype=xs.dtype)[..., None]
        ys = jaxrnn.unroll(linear, params, mean)[1]
        return carry, jnp.broadcast_to(ys, (len(xs), *ys.shape[1:]))

    return jaxrnn.layer("mean_of_steps", linear.init, run)


def data(train: Recorded, test: Recorded, batch: int) -> Data:
    """Draws batches of the sequences that are learned from; the other draws are all of the rest."""
    held_out = np.arange(len(train.classes)) % HELD_OUT == HELD_OUT - 1
    learned, valid = (Recorded(train.xs[:, at], train.lengths[at], train.classes[at]) for at in (~held_out, held_out))

    def some(key: Array) -> Batch:
        at = jax.random.choice(key, len(learned.classes), (batch,), replace=False)
        return scored(
            jnp.asarray(learned.xs)[:, at], jnp.asarray(learned.lengths)[at], jnp.asarray(learned.classes)[at]
        )

    return Data(some, lambda key: scored(*valid), {"": lambda key: scored(*test)}, train.xs.shape[-1])


def scored(xs: Any, lengths: Any, classes: Any) -> Batch:
    """A batch with one target for each sequence, as if there was one step."""
    return jnp.asarray(xs), jnp.asarray(classes)[None], jnp.ones((1, len(classes)), bool), jnp.asarray(lengths)


def stand_in(steps: int, width: int, classes: int) -> tuple[Recorded, Recorded]:
    """Noise of the shape of a data set, for a run that only shows that everything works."""
    rng = np.random.default_rng(0)

    def some(count: int) -> Recorded:
        xs = rng.normal(size=(steps, count, width)).astype(np.float32)
        return Recorded(xs, np.full(count, steps), rng.integers(0, classes, count))

    return some(20), some(40)


def recorded_mnist1d() -> tuple[Recorded, Recorded]:
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())

    def part(ending: str) -> Recorded:
        xs = np.asarray(made[f"x{ending}"], np.float32).T[..., None]
        return Recorded(xs, np.full(xs.shape[1], len(xs)), np.asarray(made[f"y{ending}"]))

    return part(""), part("_test")


def recorded_vowels() -> tuple[Recorded, Recorded]:
    from aeon.datasets import load_japanese_vowels

    def part(split: str) -> Recorded:
        series, speakers = load_japanese_vowels(split=split)
        lengths = np.array([one.shape[1] for one in series])
        xs = np.zeros((29, len(series), 12), np.float32)
        for row, one in enumerate(series):
            xs[: one.shape[1], row] = one.T
        return Recorded(xs, lengths, speakers.astype(int) - 1)

    train, test = part("train"), part("test")
    valid = np.arange(29)[:, None] < train.lengths
    mean, deviation = train.xs[valid].mean(0), train.xs[valid].std(0)
    return train._replace(xs=(train.xs - mean) / deviation), test._replace(xs=(test.xs - mean) / deviation)
