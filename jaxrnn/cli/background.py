"""Has things done by another thread, one at a time, while this one goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

Act = Callable[[], None]


@contextmanager
def background() -> Iterator[Callable[[Act], None]]:
    """Yields `do(act)`, which has another thread do `act`.

    `do` waits until the act before has ended, and raises what it has raised. The end of the block does so for the last
    act. A block that raises something itself ends after the last act, too.
    """
    last: Future[None] = Future()
    last.set_result(None)

    def do(act: Act) -> None:
        nonlocal last
        last.result()
        last = thread.submit(act)

    with ThreadPoolExecutor(1) as thread:
        yield do
        last.result()
