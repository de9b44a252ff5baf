"""Time on a device: so many calls in flight that the host's part is hidden behind them."""

import math
import time
from typing import Any, Protocol

ENOUGH_S = 0.03  # of work in flight
MOST = 32  # calls in flight


class Launches(Protocol):
    """A function whose call returns finished results; `launch` may return before the device has finished."""

    def launch(self) -> Any: ...

    def __call__(self) -> Any: ...


def turn(program: Launches) -> float:
    """Milliseconds a call, of several in flight, which a device runs one after the other; an untimed call comes first.

    Only the last one is waited for, so what the host does for a call counts as far as it takes longer than the device.
    """
    start = time.perf_counter()
    program()
    count = in_flight(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(count - 1):
        program.launch()
    program()
    return 1e3 * (time.perf_counter() - start) / count


def in_flight(alone_s: float) -> int:
    """How many calls are enough, where one alone takes `alone_s` seconds."""
    return min(MOST, math.ceil(ENOUGH_S / max(alone_s, 1e-9)))


class Budget:
    """The time that a run may take."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds; negative when it is over."""
        return self._end - time.monotonic()
