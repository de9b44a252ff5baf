"""What all tests share: double precision on demand, property tests that draw the same examples on every run, and no
more compiled programs than a process can hold.
"""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

import quick

pytest_plugins = ["tiers"]
hypothesis.settings.register_profile("jaxrnn", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("jaxrnn")
jax.config.update("jax_numpy_rank_promotion", "raise")  # no array broadcasts by accident
gc.set_threshold(50_000, 20, 100)  # traced programs are many small objects, which are looked through less often
if os.environ.get("JAX_COMPILATION_CACHE_DIR"):  # of someone who runs the tests again and again
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What test modules draw when they are imported is compiled as `quick_compilation` says, and then forgotten."""
    with quick.compilation():
        collected = yield
    jax.clear_caches()
    return collected


@pytest.fixture(scope="module")
def x64() -> Iterator[None]:
    """Double precision for a module that asks for it: `pytestmark = pytest.mark.usefixtures("x64")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """For modules whose programs run once: laws compile hundreds of them, of a few numbers each."""
    with quick.compilation():
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_examples(request: pytest.FixtureRequest) -> None:
    """The same for what docstrings show."""
    if request.path.is_relative_to(Path(__file__).parent / "jaxrnn"):
        request.getfixturevalue("quick_compilation")


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module() -> Iterator[None]:
    """Forgets compiled programs after each module: one takes several memory maps, of which Linux allows 65,530."""
    yield
    jax.clear_caches()
