"""Checkpoints come back bit for bit, damage is seen, and whatever stops a write leaves the last good one."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from flax import serialization

from jaxrnn.cli import checkpoint
from jaxrnn.cli.problem import Problem


class Pair(NamedTuple):
    a: Any
    b: Any


STATE = Pair({"w": np.array([0.1, -0.0, np.inf, np.nan], np.float32)}, (np.arange(6).reshape(2, 3), (), Pair({}, [])))


def save(path: Path, state: Any, **plain: Any) -> None:
    checkpoint.write(path, checkpoint.packed(state, **plain))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "checkpoint", STATE, step=1)
    return tmp_path / "checkpoint"


@contextmanager
def no_room() -> Iterator[None]:
    """Files may not grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_comes_back_bit_for_bit(path: Path) -> None:
    plain = {"n": 3, "x": 0.1, "text": "ẞ", "none": None, "list": [0.1, 2.5], "empty": [], "dict": {"a": True}}
    save(path, jax.tree.map(jax.numpy.asarray, STATE), **plain)
    saved = checkpoint.load(path)
    state = checkpoint.restore(path, jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, STATE)), saved.pop("state"))
    assert saved == plain
    assert jax.tree.structure(state) == jax.tree.structure(STATE)
    for found, expected in zip(jax.tree.leaves(state), jax.tree.leaves(STATE), strict=True):
        assert found.tobytes() == np.asarray(jax.numpy.asarray(expected)).tobytes()


def test_the_file_is_one_that_flax_reads_and_arrays_are_not_copied() -> None:
    """Also an array that Flax divides, a scalar, an array with no entries, and one whose entries are not in order."""
    arrays = {"x": np.arange(6.0).reshape(2, 3), "none": np.zeros((0, 3)), "scalar": np.int32(3), "0-d": np.array(2.5)}
    arrays |= {"half": np.ones(3, jax.numpy.bfloat16), "turned": np.arange(6).reshape(2, 3).T}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialization, "MAX_CHUNK_SIZE", 40)
        patch.setattr(checkpoint, "LARGEST", 40)
        parts = checkpoint.parts(arrays, step=1)
    found = serialization.msgpack_restore(b"".join(parts[2:]))
    assert found["step"] == 1
    for name, expected in arrays.items():
        restored = found["state"][name]
        assert restored.dtype == expected.dtype and restored.shape == expected.shape
        np.testing.assert_array_equal(restored, expected)
    half = arrays["half"].view(np.uint8)
    assert any(np.shares_memory(half, np.frombuffer(part, np.uint8)) for part in parts if len(part) == 6)


def test_any_damage_is_seen(path: Path) -> None:
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in range(0, len(whole), 29)]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 29)]
    for data in [*damaged, whole + b"\0"]:
        path.write_bytes(data)
        with pytest.raises(Problem, match=r"checkpoint: is (damaged|no checkpoint).*another --out"):
            checkpoint.load(path)


@pytest.mark.parametrize("like", [Pair({"w": np.zeros(4)}, ()), Pair({"v": STATE.a["w"]}, STATE.b), {"a": np.zeros(4)}])
def test_another_model_is_refused(path: Path, like: Any) -> None:
    with pytest.raises(Problem, match="holds another model than its settings make"):
        checkpoint.restore(path, like, checkpoint.load(path)["state"])


def test_a_full_disk_leaves_the_old_one(path: Path) -> None:
    before = path.read_bytes()
    with no_room(), pytest.raises(Problem, match=r"checkpoint: cannot be written \(File too large\) and is as it was"):
        save(path, STATE, step=2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_disk_leaves_the_old_one(path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(Problem, match="No space left on device"):
        save(path, STATE, step=2)
    assert checkpoint.load(path)["step"] == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_death_before_the_stroke_leaves_the_old_one(path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the dead process left beside it is in nobody's way."""

    class Death(BaseException):
        pass

    def dies(*args: Any, **kwargs: Any) -> None:
        raise Death

    with monkeypatch.context() as patched, pytest.raises(Death):
        patched.setattr(os, call, dies)
        patched.setattr(Path, "unlink", dies)  # the dead do not tidy up
        save(path, STATE, step=2)
    assert checkpoint.load(path)["step"] == 1
    save(path, STATE, step=3)
    assert checkpoint.load(path)["step"] == 3
