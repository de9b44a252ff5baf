"""Defines the settings of a run of the character model."""

from typing import Any, NamedTuple

from jaxrnn.cli.problem import Problem


class Settings(NamedTuple):
    """The settings and their defaults; each is a flag of `python -m jaxrnn`."""

    cell: str = "lstm"
    layers: int = 1
    hidden: int = 256
    dropout: float | None = None  # as `character_model` has it
    steps: int = 6000
    window: int = 32
    batch: int = 32
    learning_rate: float = 6e-3
    schedule: str = "cosine"
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
    """Returns the settings with which a run goes on: those of its checkpoint, or more steps.

    Example:
      >>> agreed(Settings(hidden=64, steps=100), {"hidden": 64, "steps": 200}).steps
      200
    """
    for name, value in given.items():
        if value == (found := getattr(saved, name)) or (name == "steps" and value > found):
            continue
        begun = "its default" if found is None else found
        other = "give more steps" if name == "steps" else "begin a new run with another --out"
        raise Problem(
            f"{flag(name)} is {value}, but the run to resume was begun with {begun}; drop {flag(name)}, or {other}"
        )
    return saved._replace(**given)
