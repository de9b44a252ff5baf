"""The rate at which a gradient changes on its way back through time, from a profile of its norms."""

from typing import Any

import numpy as np

MOST_POINTS = 120  # of a sequence: the fit is over all pairs


def slope(norms: Any) -> float:
    """Returns the change of `log norm` per step back, the median over sequences of a robust fit to each.

    `norms` is `[T, *batch]`. The fit is the median of the slopes between all pairs of steps (Theil 1950; Sen 1968), so
    that a few odd steps near the loss do not count. Steps without a gradient, or with one that is not finite, are left
    out. NaN if no sequence has two steps left.
    """
    rows = np.asarray(norms, np.float64)
    rows = rows.reshape(rows.shape[0], -1)
    found = [_fit(row) for row in rows.T]
    known = [value for value in found if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def _fit(row: np.ndarray) -> float:
    times = np.flatnonzero(np.isfinite(row) & (row > 0))
    if len(times) < 2:
        return float("nan")
    times = times[np.unique(np.linspace(0, len(times) - 1, MOST_POINTS).astype(int))]
    early, late = np.triu_indices(len(times), 1)
    logs = np.log(row[times])
    return float(np.median((logs[early] - logs[late]) / (times[late] - times[early])))
