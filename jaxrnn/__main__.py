"""Runs the command line: `python -m jaxrnn` trains a character model on a text and shows the result."""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import jax

from jaxrnn.allocator import tune_cpu_allocator
from jaxrnn.cli.characters import after_interrupt, characters
from jaxrnn.cli.model import CELLS
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.report import visible
from jaxrnn.cli.settings import LIMITS, Settings

DESCRIPTION = """Trains a recurrent character model on a text, measures it on the last tenth of the text beside n-gram
models of the same split, and lets it write. Ctrl-C saves; --resume goes on, and ends as if nothing had happened."""
EXTRA = ("matplotlib", "tqdm")  # the modules of the extra `cli`


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise Problem(f"{message}; see python -m jaxrnn --help")


def whole(low: int, high: int) -> Callable[[str], int]:
    """Returns the type of a flag that takes a whole number in a range."""

    def number(written: str) -> int:
        try:
            value = int(written)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{written!r} is not a whole number from {low} to {high}")
        return value

    return number


def positive(written: str) -> float:
    """Parses a flag that takes a positive number."""
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{written!r} is not a positive number such as 0.001")
    return value


def spelled(written: str) -> str:
    """Parses a flag that takes a Python name, which may have hyphens."""
    return written.replace("-", "_")


def parser() -> Parser:
    """Returns the parser of all flags. Its result lacks settings that are not given: a resumed run has its own."""
    flags = Parser("python -m jaxrnn", description=DESCRIPTION, allow_abbrev=False)
    flags.add_argument("--text", metavar="FILE", help="UTF-8 text (default: the help topics of Python's pydoc)")
    flags.add_argument("--out", metavar="DIR", type=Path, default=Path("run"), help="for the outputs (default: run)")
    flags.add_argument("--resume", action="store_true", help="go on with the run in DIR; needs no other flag")
    flags.add_argument("--prompt", default="", help="characters that the sample goes on from")
    settings = flags.add_argument_group("settings of a run")
    defaults = Settings()._asdict()

    def setting(name: str, about: str, **kind: Any) -> None:
        said = f"{about} (default: {defaults[name.strip('-').replace('-', '_')]})"
        settings.add_argument(name, help=said, default=argparse.SUPPRESS, **kind)

    def number(name: str, about: str) -> None:
        setting(name, about, type=whole(*LIMITS[name.strip("-")]), metavar="N")

    setting("--cell", f"recurrent cell: {', '.join(CELLS)}", type=spelled, choices=CELLS, metavar="NAME")
    number("--layers", "recurrent layers")
    number("--hidden", "width of each")
    number("--steps", "updates")
    number("--window", "characters in an update that gradients flow through")
    number("--batch", "places of the text read at once")
    setting("--learning-rate", "its highest; it rises, then falls along a cosine", type=positive, metavar="X")
    number("--seed", "of all that is random")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, 2 after a user's error, 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a text may have characters that the terminal lacks
    try:
        given = vars(parser().parse_args(argv))
        require(EXTRA)
        directory, source, prompt, resume = (given.pop(name) for name in ("out", "text", "prompt", "resume"))
    except Problem as problem:
        return complain(problem)
    try:
        characters(directory, given, source, prompt, resume=resume)
    except Problem as problem:
        return complain(problem)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return complain("not enough memory; lower --batch, --window, --hidden or --layers, with another --out")
    except KeyboardInterrupt:
        print(f"jaxrnn: {after_interrupt(directory)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
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
    sys.exit(main())
