"""Defines the settings of a run of the character model."""

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
        """Returns the characters read in one step."""
        return self.window * self.batch


LIMITS = {
    "layers": (1, 64),
    "hidden": (1, 65536),
    "steps": (1, 10**9),
    "window": (1, 10**6),
    "batch": (1, 10**6),
    "seed": (0, 2**32 - 1),
}


def flag(name: str) -> str:
    """Returns the flag of a setting on the command line."""
    return "--" + name.replace("_", "-")


def agreed(saved: Settings, given: dict[str, Any]) -> Settings:
    """Returns the settings of a checkpoint after checking that those on the command line equal them.

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
