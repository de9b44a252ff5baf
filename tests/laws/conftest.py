"""The laws compile hundreds of programs of a few numbers each: how fast those run does not matter."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """Leaves out XLA's costly optimisations, which takes a quarter off the suite's time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
