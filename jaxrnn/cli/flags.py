"""Parses the command line: the commands and their flags."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxrnn.cli.export import PLATFORMS
from jaxrnn.cli.model import CELLS, SCHEDULES
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.processes import address
from jaxrnn.cli.settings import LIMITS, Settings

TRAIN = """Trains a recurrent character model on a text, measures it on the last tenth of the text beside n-gram models
of the same split, and lets it write. Ctrl-C saves; --resume goes on, and ends as if nothing had happened."""
SAMPLE = "Lets the model of a run write, without its text. Each call draws another sample, unless --seed repeats one."
EVAL = """Scores a text, in bits per character, with the model of a run, and with n-gram models of the text that it was
trained on, if that is still there. Characters that the model does not know are left out, which is said."""
EXPORT = """Stores the model of a run in one file: its programs, for any batch and any length of text, its parameters
and its vocabulary. jax.export reads them in a process that need not have jaxrnn."""
OTHERS = (
    "python -m jaxrnn sample lets the model of a run write, python -m jaxrnn eval scores another text, and python -m "
    "jaxrnn export stores the model for another process: see their --help"
)
LONGEST = 10**9  # characters of a sample
MANY = 10**6  # devices, processes or checkpoints


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise Problem(f"{message}; see {self.prog} --help")


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


def whole_or(word: str, low: int, high: int) -> Callable[[str], int | str]:
    """Returns the type of a flag that takes a whole number in a range, or a word."""

    def number(written: str) -> int | str:
        try:
            return word if written == word else whole(low, high)(written)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}, nor {word!r}") from None

    return number


def real(fits: Callable[[float], bool], words: str) -> Callable[[str], float]:
    """Returns the type of a flag that takes a number which `fits`; `words` describe it."""

    def number(written: str) -> float:
        try:
            value = float(written)
        except ValueError:
            value = float("nan")
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{written!r} is not {words}")
        return value

    return number


def spelled(written: str) -> str:
    """Parses a flag that takes a Python name, which may have hyphens."""
    return written.replace("-", "_")


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the flags of a command line, and its `command`, which is "train" if it does not begin with one.

    Settings that are not given are absent: a resumed run has its own.
    """
    commands = parsers()
    name, flags = (argv[0], argv[1:]) if argv and argv[0] in commands else ("train", argv)
    return commands[name].parse_args(flags, argparse.Namespace(command=name))


def parsers() -> dict[str, Parser]:
    """Returns the parsers of all commands.

    They are not subparsers of one parser: that would accept the flags of training before the name of another command.
    """
    train = Parser("python -m jaxrnn", description=TRAIN, epilog=OTHERS, allow_abbrev=False)
    sample = Parser("python -m jaxrnn sample", description=SAMPLE, allow_abbrev=False)
    evaluate = Parser("python -m jaxrnn eval", description=EVAL, allow_abbrev=False)
    export = Parser("python -m jaxrnn export", description=EXPORT, allow_abbrev=False)
    train_flags(train)
    sample_flags(sample)
    eval_flags(evaluate)
    export_flags(export)
    return {"train": train, "sample": sample, "eval": evaluate, "export": export}


def train_flags(flags: Parser) -> None:
    """Adds the flags of training."""
    flags.add_argument("--text", metavar="FILE", help="UTF-8 text (default: the help topics of Python's pydoc)")
    flags.add_argument("--valid", metavar="FILE", help="text to hold out (default: the last tenth of the text)")
    flags.add_argument("--out", metavar="DIR", type=Path, default=Path("run"), help="for the outputs (default: run)")
    flags.add_argument(
        "--resume", action="store_true", help="go on with the run in DIR; needs no other flag; more --steps extend it"
    )
    flags.add_argument(
        "--keep",
        type=whole(1, MANY),
        default=1,
        metavar="N",
        help="checkpoints: the newest and the N - 1 before it (default: 1)",
    )
    flags.add_argument("--prompt", default="", help="characters that the sample goes on from")
    flags.add_argument(
        "--devices",
        type=whole_or("all", 1, MANY),
        default=1,
        metavar="N|all",
        help="devices of each process that the batch is split over (default: 1)",
    )
    several = flags.add_argument_group("a run of several processes, all of which are started alike, with their numbers")
    several.add_argument(
        "--coordinator",
        type=address,
        metavar="HOST:PORT|auto",
        help="where process 0 listens; auto: what SLURM, Kubernetes or Open MPI say, the two flags below included",
    )
    several.add_argument("--processes", type=whole(1, MANY), metavar="N", help="how many there are")
    several.add_argument("--process", type=whole(0, MANY), metavar="I", help="the number of this one, from 0")
    settings = flags.add_argument_group("settings of a run")
    defaults = Settings()._asdict() | {"dropout": "0.5, or 0.1 in the residual blocks of linear recurrences"}

    def setting(name: str, about: str, **kind: Any) -> None:
        said = f"{about} (default: {defaults[name.strip('-').replace('-', '_')]})"
        settings.add_argument(name, help=said, default=argparse.SUPPRESS, **kind)

    def number(name: str, about: str) -> None:
        setting(name, about, type=whole(*LIMITS[name.strip("-")]), metavar="N")

    rate = real(lambda x: 0 < x < float("inf"), "a positive number such as 0.001")
    setting("--cell", f"recurrent cell: {', '.join(CELLS)}", type=spelled, choices=CELLS, metavar="NAME")
    number("--layers", "recurrent layers")
    number("--hidden", "width of each")
    setting(
        "--dropout", "part that is dropped", type=real(lambda x: 0 <= x < 1, "a number from 0 to below 1"), metavar="X"
    )
    number("--steps", "updates")
    number("--window", "characters in an update that gradients flow through")
    number("--batch", "places of the text read at once")
    setting("--learning-rate", "its highest", type=rate, metavar="X")
    setting("--schedule", f"of the learning rate: {', '.join(SCHEDULES)}", choices=SCHEDULES, metavar="NAME")
    number("--seed", "of all that is random")


def sample_flags(flags: Parser) -> None:
    """Adds the flags of sampling."""
    run_flags(flags)
    temperature = real(lambda x: x == 0 or 0.01 <= x <= 100, "0 or a number from 0.01 to 100")
    part = real(lambda x: 0 < x <= 1, "a number above 0 and up to 1")
    flags.add_argument("--prompt", default="", help="what the model goes on from (default: the end of a line)")
    flags.add_argument("--length", type=whole(1, LONGEST), default=600, metavar="N", help="characters (default: 600)")
    flags.add_argument(
        "--temperature", type=temperature, default=0.7, metavar="X", help="0: always the likeliest (default: 0.7)"
    )
    flags.add_argument("--top-k", type=whole(1, LONGEST), metavar="N", help="draw from the N likeliest (default: all)")
    flags.add_argument(
        "--top-p", type=part, metavar="X", help="draw from the likeliest that have X of the probability (default: all)"
    )
    flags.add_argument("--seed", type=whole(*LIMITS["seed"]), metavar="N", help="repeats a sample (default: a new one)")


def eval_flags(flags: Parser) -> None:
    """Adds the flags of scoring."""
    run_flags(flags)
    flags.add_argument("--text", metavar="FILE", help="UTF-8 text (default: the held-out text of the run)")


def export_flags(flags: Parser) -> None:
    """Adds the flags of storing."""
    run_flags(flags)
    flags.add_argument("--file", type=Path, metavar="FILE", help="to write (default: model.zip in DIR)")
    flags.add_argument(
        "--platforms",
        nargs="+",
        choices=PLATFORMS,
        default=list(PLATFORMS),
        metavar="NAME",
        help=f"for which the programs are: {', '.join(PLATFORMS)} (default: all)",
    )


def run_flags(flags: Parser) -> None:
    """Adds the flags that say which model is read."""
    flags.add_argument("--out", metavar="DIR", type=Path, default=Path("run"), help="of the run (default: run)")
    flags.add_argument("--best", action="store_true", help="take the best checkpoint in place of the last one")
