"""Problems of `jaxrnn.tasks`, whose data are drawn afresh for every update."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from benchmarks.tasks.models import HEADS, Contender, chrono_lstm, dense_state, linear_state, several_steps, signed
from benchmarks.tasks.problem import TINY, Problem, Size
from benchmarks.tasks.training import Batch, Data, after, drawn, over_all_steps
from jaxrnn import tasks
from jaxrnn.types import Array


def adding(quick: bool) -> Problem:
    length, size = (8, TINY) if quick else (200, Size(32, 20, 2500, 1000))
    scored = drawn(tasks.adding, 20 if quick else 500, length)
    return Problem(
        f"adding, T {length}",
        "squared error",
        lambda: Data(drawn(tasks.adding, size.batch, length), scored, {"": scored}, 2),
        None,
        1,
        {
            "elman": dense_state(jaxrnn.elman),
            "lstm": dense_state(jaxrnn.lstm),
            "gru": dense_state(jaxrnn.gru),
            "min_gru": linear_state(jaxrnn.min_gru),
            "lru": linear_state(partial(jaxrnn.lru, r_min=0.9)),
        },
        (4e-3, 1e-2, 2.5e-2),
        size,
        1 / 6,
        0.002,
        "gated cells near 0, Elman networks at 0.167 (Le, Jaitly & Hinton 2015, arXiv 1504.00941)",
    )


def parity(quick: bool) -> Problem:
    return _tracking(
        "parity",
        tasks.parity,
        2,
        quick,
        {
            "elman": dense_state(jaxrnn.elman),
            "lstm": dense_state(jaxrnn.lstm),
            "slstm": dense_state(jaxrnn.slstm),
            "min_gru": linear_state(jaxrnn.min_gru),
            "signed_min_gru": linear_state(signed(jaxrnn.min_gru)),
            "mlstm": linear_state(partial(jaxrnn.mlstm, heads=HEADS)),
            "delta_net": linear_state(partial(jaxrnn.delta_net, heads=HEADS)),
            "signed_delta_net": linear_state(signed(jaxrnn.delta_net, heads=HEADS)),
        },
        "sLSTM, and Mamba and DeltaNet with eigenvalues down to -1: 1.0; Mamba, DeltaNet and mLSTM without them: near "
        "chance (Grazzi et al. 2025, arXiv 2411.12537)",
        updates=1000,
        trial=400,
    )


def s3(quick: bool) -> Problem:
    delta = signed(jaxrnn.delta_net, heads=HEADS)
    return _tracking(
        "word problem of S3",
        tasks.s3,
        6,
        quick,
        {
            "elman": dense_state(jaxrnn.elman),
            "lstm": dense_state(jaxrnn.lstm),
            "slstm": dense_state(jaxrnn.slstm),
            "signed_min_gru": linear_state(signed(jaxrnn.min_gru)),
            "delta_net": linear_state(partial(jaxrnn.delta_net, heads=HEADS)),
            "signed_delta_net": linear_state(delta),
            "signed_delta_net_2_layers": linear_state(delta, layers=2),
            "signed_delta_net_2_steps": several_steps(linear_state(delta), 2),
        },
        "products of two reflections a step follow S3, a single one in one layer does not (Siems et al. 2025, arXiv "
        "2502.10297). With the sign of the permutation alone a model is right in 1 of 3 cases",
        updates=1800,
        trial=600,
    )


def _tracking(
    title: str,
    task: Callable[..., Batch],
    classes: int,
    quick: bool,
    contenders: dict[str, Contender],
    published: str,
    updates: int,
    trial: int,
) -> Problem:
    """Trained at 40 steps, each of which is scored; validated and tested on the steps 41 to 256."""
    length, longer, size = (4, 8, TINY) if quick else (40, 256, Size(32, 32, updates, trial))
    return Problem(
        f"{title}, trained to T {length}, scored at steps {length + 1} to {longer}",
        "accuracy",
        lambda: Data(
            drawn(task, size.batch, length),
            _later(drawn(task, 16 if quick else 64, longer), length),
            {"": _later(drawn(task, 16 if quick else 256, longer), length)},
            None,
        ),
        classes,
        classes,
        contenders,
        (1e-3, 4e-3, 1.6e-2),
        size,
        1 / classes,
        1.0,
        published,
        patience=3,
    )


def _later(draw: Callable[[Array], Batch], steps: int) -> Callable[[Array], Batch]:
    return lambda key: after(steps, draw(key))


def copying(quick: bool) -> Problem:
    gap, size = (3, TINY) if quick else (100, Size(64, 20, 1500, 400))
    memory, symbols = (2, 2) if quick else (10, 8)

    def draw(batch: int) -> Callable[[Array], Batch]:
        task = drawn(tasks.copying, batch, gap + 2 * memory, memory=memory, symbols=symbols)
        return lambda key: over_all_steps(task(key))

    scored = draw(16 if quick else 128)
    return Problem(
        f"copying, T {gap}",
        "cross-entropy",
        lambda: Data(draw(size.batch), scored, {"": scored}, None),
        symbols + 2,
        symbols + 1,
        {
            "elman": dense_state(jaxrnn.elman),
            "lstm": dense_state(jaxrnn.lstm),
            "chrono_lstm": dense_state(chrono_lstm(gap * 3 // 2)),
            "lru": linear_state(partial(jaxrnn.lru, r_min=0.99)),
        },
        (1e-3, 3e-3, 1e-2),
        size,
        memory * float(np.log(symbols)) / (gap + 2 * memory),
        0.01,
        "LSTM at the level without memory (Arjovsky et al. 2016, arXiv 1511.06464), chrono LSTM below it (Tallec & "
        "Ollivier 2018, arXiv 1804.11188)",
    )


def associative_recall(quick: bool) -> Problem:
    length, size = (12, TINY) if quick else (64, Size(32, 48, 800, 200))
    counts, symbols = ((2, 3), 4) if quick else ((4, 8, 16), 32)

    def draw(pairs: int, batch: int) -> Callable[[Array], Batch]:
        task = drawn(tasks.associative_recall, batch, length, pairs=pairs, keys=symbols, values=symbols)

        def values_as_classes(key: Array) -> Batch:
            inputs, targets, mask = task(key)
            return inputs, jnp.maximum(targets - symbols - 1, 0), mask

        return values_as_classes

    def mixed(batch: int) -> Callable[[Array], Batch]:
        draws = [draw(pairs, max(1, batch // len(counts))) for pairs in counts]

        def joined(key: Array) -> Batch:
            parts = [of(jax.random.fold_in(key, i)) for i, of in enumerate(draws)]
            inputs, targets, mask = (jnp.concatenate(part, 1) for part in zip(*parts, strict=True))
            return inputs, targets, mask

        return joined

    return Problem(
        f"associative recall, T {length}",
        "accuracy",
        lambda: Data(
            mixed(size.batch),
            mixed(12 if quick else 192),
            {f"{pairs} keys": draw(pairs, 8 if quick else 200) for pairs in counts},
            None,
        ),
        1 + 2 * symbols,
        symbols,
        {
            "elman": dense_state(jaxrnn.elman),
            "lstm": dense_state(jaxrnn.lstm),
            "lru": linear_state(partial(jaxrnn.lru, r_min=0.9), window=2),
            "min_gru": linear_state(jaxrnn.min_gru, window=2),
            "mlstm": linear_state(partial(jaxrnn.mlstm, heads=1), window=2),
            "delta_net": linear_state(partial(jaxrnn.delta_net, heads=1), window=2),
        },
        (1e-3, 3e-3, 1e-2),
        size,
        1 / symbols,
        0.995,
        "recall grows with the state, and a delta rule recalls all keys (Arora et al. 2023, arXiv 2312.04927; Yang et "
        "al. 2024, arXiv 2406.06484). A model that knows which values occurred, but not whose, is right in 1 of n "
        "cases with n keys",
    )
