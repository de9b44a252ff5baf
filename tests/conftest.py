"""What all tests share: double precision on demand, and property tests that draw the same examples on every run."""

from collections.abc import Iterator

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("jaxrnn", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("jaxrnn")


@pytest.fixture(scope="module")
def x64() -> Iterator[None]:
    """Double precision for a module that asks for it: `pytestmark = pytest.mark.usefixtures("x64")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """Leaves out XLA's costly optimisations: laws compile hundreds of programs of a few numbers each."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
