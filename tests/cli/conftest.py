"""A finished run, which the tests of all commands share, and the programs that were compiled for other runs."""

import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from cli.runs import SMALL, TEXT, contents
from jaxrnn.__main__ import main


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled programs are kept."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def kept_programs(programs: Path, quick_compilation: None) -> Iterator[None]:
    """Compiles a program once for all runs of one kind, which would otherwise be most of their time."""
    kept = {
        "jax_compilation_cache_dir": jax.config.jax_compilation_cache_dir or str(programs),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: getattr(jax.config, name) for name in kept}
    for values in (kept, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is kept:
            yield


@pytest.fixture
def hang_up() -> Iterator[None]:
    """The system's own reaction to SIGHUP, even where the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, kept_programs: None) -> Path:
    directory = tmp_path_factory.mktemp("made")
    (directory / "text").write_text(TEXT)
    assert main([*SMALL, "--text", f"{directory}/text", "--out", f"{directory}/run"]) == 0
    return directory


@pytest.fixture
def made(shared: Path) -> Iterator[Path]:
    """A directory with a text, and a finished run on it, which a test must not change."""
    before = contents(shared)
    yield shared
    assert contents(shared) == before
