"""Says the last words of a process, which a process that is killed or aborts cannot say itself.

This file is also the program of the listener, a second process that waits for the end of the first one. It starts in
milliseconds, since it imports neither JAX nor this package.
"""

import signal
import subprocess
import sys


class LastWords:
    """The line that is printed to standard error if this process ends before `close`."""

    def __init__(self) -> None:
        # Its own session keeps it from signals of the terminal. It reads from a pipe, which ends with this process.
        self._listener = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def set(self, words: str) -> None:
        """Replaces the line."""
        assert self._listener.stdin is not None
        print(words, file=self._listener.stdin, flush=True)

    def close(self) -> None:
        """Takes the line back: this process says itself how it ends."""
        self.set("")
        self.say()

    def say(self) -> None:
        """Says the line now."""
        self._listener.communicate()


def listen() -> None:
    """Waits for the end of the pipe, and prints the last line that came through it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    words = ""
    for line in sys.stdin:
        words = line.strip()
    if words:
        print(words, file=sys.stderr)


if __name__ == "__main__":
    listen()
