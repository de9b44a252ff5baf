"""Files that are replaced in one stroke: whenever the process is killed, the last whole one is there."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import jax
from flax import serialization

from jaxrnn.tasks.problem import Problem

MAGIC = b"jaxrnn checkpoint 1\n"
DIGEST = hashlib.sha256().digest_size


def write(path: Path, data: bytes) -> None:
    """Replaces what `path` holds by `data`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise Problem(
            f"{path}: cannot be written ({error.strerror}) and is as it was before; "
            "free space or mend the directory and go on with --resume, or choose another --out"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save(path: Path, state: Any, **plain: Any) -> None:
    """Writes a pytree of arrays, and beside it numbers, strings, lists and dicts of such, under a digest."""
    arrays = serialization.to_state_dict(jax.device_get(state))
    payload = serialization.msgpack_serialize({"state": arrays, **plain})
    write(path, MAGIC + hashlib.sha256(payload).digest() + payload)


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote, by name; `state` is for `restore`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Problem(f"{path}: cannot be read ({error.strerror}); to begin a new run, drop --resume") from None
    digest, payload = data[len(MAGIC) :][:DIGEST], data[len(MAGIC) + DIGEST :]
    if not data.startswith(MAGIC):
        raise Problem(f"{path}: is no checkpoint of this version of jaxrnn; begin a new run with another --out")
    if hashlib.sha256(payload).digest() != digest:
        raise Problem(f"{path}: is damaged; put a copy in its place, or begin a new run with another --out")
    return serialization.msgpack_restore(payload)


def restore(path: Path, like: Any, saved: Any) -> Any:
    """The pytree `saved` in the structure of `like`, whose leaves have its shapes and dtypes."""
    try:
        tree = serialization.from_state_dict(like, saved)
    except (ValueError, KeyError):
        tree = None
    if jax.tree.map(_kind, tree) != jax.tree.map(_kind, like):
        raise Problem(f"{path}: holds another model than its settings make; begin a new run with another --out")
    return tree


def _kind(leaf: Any) -> tuple[Any, Any]:
    return leaf.shape, leaf.dtype
