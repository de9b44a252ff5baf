"""What makes a run of the character model the run that it is, besides its text."""

from typing import Any, NamedTuple

from jaxrnn.cli.problem import Problem


class Settings(NamedTuple):
    """The settings and their defaults; each is a flag of `python -m jaxrnn`."""

    cell: str = "lstm"
    layers: int = 1
    hidden: int = 256
    steps: int = 6000
    window: int = 32
    batch: int = 32
    learning_rate: float = 6e-3
    seed: int = 0

    @property
    def per_step(self) -> int:
        """Characters read in one step."""
        return self.window * self.batch


# The smallest and the largest value of each setting that is a whole number.
LIMITS = {
    "layers": (1, 64),
    "hidden": (1, 65536),
    "steps": (1, 10**9),
    "window": (1, 10**6),
    "batch": (1, 10**6),
    "seed": (0, 2**32 - 1),
}


def flag(name: str) -> str:
    """A setting as it stands on the command line."""
    return "--" + name.replace("_", "-")


def agreed(saved: Settings, given: dict[str, Any]) -> Settings:
    """The settings of a checkpoint, if those on the command line are among them.

    Example:
      >>> agreed(Settings(hidden=64), {"hidden": 64}).hidden
      64
    """
    for name, value in given.items():
        if value != (found := getattr(saved, name)):
            raise Problem(
                f"{flag(name)} is {value}, but the run to resume was begun with {found}; "
                f"drop {flag(name)}, or begin a new run with another --out"
            )
    return saved
