"""How things are timed: all contenders in one process, in turns, each with idle cores and warm caches."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.environment import Bystanders

Call = Callable[[], Any]
QUIET = 0.25  # cores; the clock of other programs' work is too coarse for less


def settle(slice_s: float = 0.003, limit_s: float = 0.25) -> None:
    """Waits until this process's threads are idle: the pools of XLA and OpenMP spin for a while after their work."""
    deadline = time.perf_counter() + limit_s
    while time.perf_counter() < deadline:
        before = time.process_time()
        time.sleep(slice_s)
        if time.process_time() - before < 0.1 * slice_s:
            return


def timed_turn(call: Call, enough_s: float = 0.02, most: int = 9) -> float:
    """Milliseconds: the median of a few calls, of one if it is long.

    An untimed call comes first: it brings code and data into the caches and the allocator into this call's state.
    """
    settle()
    call()
    times: list[float] = []
    while not times or (sum(times) < enough_s and len(times) < most):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def round_robin(
    calls: dict[str, Call],
    rounds: int,
    label: str = "",
    turn: Callable[[Any], float] | None = None,
    *,
    again: bool = True,
) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; in a round each has one turn, and another begins each round.

    `turn` returns the milliseconds of a call; `timed_turn` if None. A round in which other programs were at work is
    made `again`, as long as there are at most twice as many; the quietest ones count, whatever their times.
    """
    turn = turn or timed_turn
    most = 2 * rounds if again else rounds
    for call in calls.values():
        call()  # compiles
    made: list[tuple[float, dict[str, float]]] = []
    gc.collect()
    gc.disable()
    try:
        with tqdm(total=rounds, desc=label, leave=False, unit="round") as bar:
            while bar.n < rounds and len(made) < most:
                made.append(_round(calls, turn, first=len(made) % len(calls)))
                bar.update(made[-1][0] < QUIET or not again)
    finally:
        gc.enable()
    quietest = sorted(made, key=lambda round: round[0])[:rounds]
    return {name: [times[name] for _, times in quietest] for name in calls}


def _round(calls: dict[str, Call], turn: Callable[[Any], float], first: int) -> tuple[float, dict[str, float]]:
    """The cores that other programs kept busy meanwhile, and the time of each call's turn."""
    others = Bystanders()
    names = list(calls)
    times = {name: turn(calls[name]) for name in names[first:] + names[:first]}
    return others.cores(), times


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and the samples themselves, as they stand in a row of a result.

    Tables have the lower quartile beside the median: on a shared machine it is the steadier of the two.
    """
    median, low, high = np.quantile(samples, [0.5, 0.25, 0.75])
    return {"median": short(median), "quartiles": [short(low), short(high)], "samples": [*map(short, samples)]}


def short(value: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")
