"""Runs the command line: `python -m jaxrnn` trains a character model, which then writes, scores texts, or is stored."""

import contextlib
import errno
import io
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import jax

from jaxrnn.allocator import tune_cpu_allocator
from jaxrnn.cli.evaluate import evaluate
from jaxrnn.cli.export import exported
from jaxrnn.cli.flags import parsed
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.processes import leave
from jaxrnn.cli.report import visible
from jaxrnn.cli.sample import sample
from jaxrnn.cli.training import after_interrupt, training

# The modules of the extra `cli` that a command needs.
EXTRA = {"train": ("matplotlib", "tqdm", "filelock"), "export": ("flatbuffers",)}
COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "train": training,
    "sample": sample,
    "eval": evaluate,
    "export": exported,
}
GONE = (errno.EPIPE, errno.EIO)  # the reader of the output is: `head` has read enough, a terminal was closed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, 2 after a user's error, 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a text may have characters that the terminal lacks
    try:
        args = parsed(sys.argv[1:] if argv is None else argv)
        require(EXTRA.get(args.command, ()))
        COMMANDS[args.command](args)
    except Problem as problem:
        return complain(problem)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        if args.command != "train":
            return complain("not enough memory for the model of this run")
        return complain("not enough memory; lower --batch, --window, --hidden or --layers, with another --out")
    except KeyboardInterrupt as interrupt:
        said = str(interrupt) or (after_interrupt(args.out) if args.command == "train" else "stopped")
        with contextlib.suppress(OSError):  # after SIGHUP there is no terminal
            print(f"jaxrnn: {said}", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in GONE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def require(modules: Sequence[str]) -> None:
    """Raises a `Problem` if one of `modules` is not installed."""
    if missing := [name for name in modules if find_spec(name) is None]:
        names = " and ".join(missing)
        verb = "is" if len(missing) == 1 else "are"
        raise Problem(f'{names} {verb} not installed; pip install "jaxrnn[cli]" brings what the command line needs')


def complain(problem: Problem | str) -> int:
    """Prints an error in one line without control characters, and returns the exit status."""
    print(f"jaxrnn: {visible(' '.join(str(problem).split()))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    tune_cpu_allocator()  # the process belongs to the program
    try:
        status = main()
    except Exception:  # a fault of jaxrnn, which is shown whole
        traceback.print_exc()
        status = 1
    leave(status)
