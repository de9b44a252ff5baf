"""Finds the first value that is not finite in arrays over time, and says which it is."""

from typing import Any, NamedTuple

import numpy as np

from jaxrnn.types import Array

LISTED = 5  # sequences that are named one by one


class Fault(NamedTuple):
    """The first step at which an array is not finite.

    Attributes:
      array: its name.
      value: `"NaN"` or `"inf"`.
      step: the index of the step.
      total: the number of steps.
      bad: bool `[*batch]`, the sequences in which it is not finite.
    """

    array: str
    value: str
    step: int
    total: int
    bad: np.ndarray


def earliest(arrays: dict[str, Array], valid: Array | None) -> Fault | None:
    """Returns the first fault in peaks `[T, *batch]`: of the earliest valid step, and at it, of the first array.

    A peak that is not finite is a fault.
    """
    first = None
    for name, array in arrays.items():
        peak = np.asarray(array)
        bad = ~np.isfinite(peak) if valid is None else ~np.isfinite(peak) & np.asarray(valid)
        steps = np.flatnonzero(bad.any(tuple(range(1, bad.ndim))))
        if len(steps) and (first is None or steps[0] < first.step):
            step = int(steps[0])
            value = "NaN" if np.isnan(peak[step][bad[step]]).any() else "inf"
            first = Fault(name, value, step, len(peak), bad[step])
    return first


def sequences(bad: np.ndarray) -> tuple[Any, ...]:
    """Returns the indices of the sequences where `bad [*batch]` is True: ints with one batch axis, else tuples."""
    found = np.argwhere(bad).tolist() if bad.ndim else []
    return tuple(at[0] if len(at) == 1 else tuple(at) for at in found)


def when(fault: Fault) -> str:
    """Returns the step of a fault in words."""
    return f"step {fault.step} of {fault.total}, counted from 0"


def what_of(fault: Fault) -> str:
    """Returns the value of a fault and the sequences in which it is found."""
    found = sequences(fault.bad)
    if fault.bad.size == 1:
        return fault.value
    listed = ", ".join(map(str, found[:LISTED])) + ", …" * (len(found) > LISTED)
    return f"{fault.value} in {len(found)} of {fault.bad.size} sequences ({listed})"


def up_to(what: str, peak: dict[str, Array]) -> str:
    """Returns the largest of some numbers, and the name of the array that holds it."""
    name, largest = max(((name, float(np.max(value))) for name, value in peak.items()), key=lambda pair: pair[1])
    return f"{what} up to {largest:.3g}" + f" ({name})" * bool(name)
