"""Keeps a second process out of the directory of a run."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxrnn.cli.problem import Problem

LOCK = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the lock of a directory that exists; the operating system takes it from a process that dies.

    Raises:
      Problem: another process holds it, or it cannot be made.
    """
    from filelock import FileLock, Timeout  # `require` reports its absence before a run

    path = directory / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise Problem(
            f"--out {directory}: another process trains the run there; wait until it has ended, or choose another --out"
        ) from None
    except OSError as error:
        raise Problem(
            f"--out {directory}: cannot be locked ({error.strerror}); name a directory that can be written"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held: whoever has opened it meanwhile sees that it is gone
            path.unlink(missing_ok=True)
        lock.release()
