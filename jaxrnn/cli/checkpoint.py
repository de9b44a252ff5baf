"""Replaces files atomically: whenever the process is killed, the last complete file exists."""

import contextlib
import hashlib
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization

from jaxrnn.cli.problem import Problem

LAST, BEST = "checkpoint", "best"  # files of a run
PART = ".part"  # ends the name of a file that is being written
MAGIC = b"jaxrnn checkpoint 2\n"
DIGEST = hashlib.sha256().digest_size
REMEDY = "put a copy in its place, or begin a new run with another --out"
MEND = "free space or mend the directory and go on with --resume, or choose another --out"
ABSENT = "name the directory of a run with --out; python -m jaxrnn without --resume begins one"
OTHER_MODEL = "holds another model than its settings make; begin a new run with another --out"
NOT_FINITE = "holds parameters that are not finite; begin a new run with another --out"
LARGEST = 2**30  # bytes of an array; Flax divides larger ones
Bytes = bytes | memoryview


def within(directory: Path, *, best: bool = False) -> Path:
    """Returns the path of a run's checkpoint."""
    return directory / (BEST if best else LAST)


def write(path: Path, *parts: Bytes, remedy: str = MEND) -> None:
    """Replaces the contents of `path` by `parts` atomically; `remedy` is for the error if it cannot."""
    with _replacing(path, remedy) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def link(source: Path, path: Path) -> None:
    """Gives a file a further name atomically, in place of a file that has the name `path`."""
    with _replacing(path, MEND) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # not every file system has further names
            shutil.copyfile(source, temporary)


@contextmanager
def _replacing(path: Path, remedy: str) -> Iterator[Path]:
    """Yields the name of a temporary file, which takes the place of `path` in the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise Problem(f"{path}: cannot be written ({error.strerror}) and is as it was before; {remedy}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def packed(state: Any, **plain: Any) -> bytes:
    """Returns a pytree of arrays, and numbers, strings, lists and dicts of such, as a file with a digest."""
    return b"".join(parts(state, **plain))


def parts(state: Any, **plain: Any) -> list[Bytes]:
    """Returns the file that `packed` returns in parts, which hold the arrays themselves and no copies of them."""
    arrays = serialization.to_state_dict(jax.device_get(state))
    payload = [*_msgpack({"state": arrays, **plain})]
    digest = hashlib.sha256()
    for part in payload:
        digest.update(part)
    return [MAGIC, digest.digest(), *payload]


def _msgpack(value: Any) -> Iterator[Bytes]:
    """Yields the msgpack of a value.

    It is what Flax reads. Flax itself makes several copies of all arrays, which takes longer than to write them to a
    disk, and meanwhile no other thread of Python runs.
    """
    if isinstance(value, dict):
        yield struct.pack(">BI", 0xDF, len(value))  # a map
        for name, inner in value.items():
            yield serialization.msgpack_serialize(name)
            yield from _msgpack(inner)
    elif isinstance(value, np.ndarray) and value.nbytes <= LARGEST:
        shape, dtype = map(serialization.msgpack_serialize, ([*value.shape], value.dtype.name))
        head = b"\x93" + shape + dtype + struct.pack(">BI", 0xC6, value.nbytes)  # three values; bytes follow
        yield struct.pack(">BIB", 0xC9, len(head) + value.nbytes, 1) + head  # an extension, whose type 1 is an array
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    else:
        yield serialization.msgpack_serialize(value)


def load(path: Path) -> dict[str, Any]:
    """Returns the values that were `packed`, by name; `state` is for `restore`.

    The digest shows damage, not who wrote the file: callers check the values before they use them.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may have no end
            raise Problem(f"{path}: is not a regular file; {REMEDY}")
        with open(path, "rb") as file:
            magic, digest = file.read(len(MAGIC)), file.read(DIGEST)
            payload = file.read() if magic == MAGIC else b""
    except OSError as error:
        raise Problem(f"{path}: cannot be read ({error.strerror}); {ABSENT}") from None
    return unpacked(path, magic + digest + payload)


def unpacked(path: Path, data: bytes) -> dict[str, Any]:
    """Returns the values of a checkpoint that was read from `path`."""
    magic, digest, payload = data[: len(MAGIC)], data[len(MAGIC) :][:DIGEST], data[len(MAGIC) + DIGEST :]
    if magic != MAGIC:
        raise Problem(f"{path}: is no checkpoint of this version of jaxrnn; begin a new run with another --out")
    if hashlib.sha256(payload).digest() != digest:
        raise Problem(f"{path}: is damaged; {REMEDY}")
    try:
        saved = serialization.msgpack_restore(payload)
    except (
        Exception
    ):  # bytes that `packed` has not made fail in the decoder in many ways, none of which concerns the user
        saved = None
    if not isinstance(saved, dict):
        raise Problem(f"{path}: has a right digest but contents that jaxrnn did not write; {REMEDY}")
    return saved


def restore(path: Path, like: Any, saved: Any) -> Any:
    """Returns the pytree `saved` with the structure of `like`, after checking its shapes and dtypes."""
    try:
        tree = serialization.from_state_dict(like, saved)
        structure: Any = jax.tree.structure(serialization.to_state_dict(like))
        fits = jax.tree.structure(saved) == structure and jax.tree.map(_kind, tree) == jax.tree.map(_kind, like)
    except Exception:  # `saved` may be of any type and depth, and Flax does not check it
        fits = False
    if not fits:
        raise Problem(f"{path}: {OTHER_MODEL}")
    return tree


def finite(tree: Any) -> bool:
    """Returns whether every floating or complex number in a pytree of arrays is finite."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree) if np.issubdtype(leaf.dtype, np.inexact))


def _kind(leaf: Any) -> tuple[Any, Any]:
    return leaf.shape, leaf.dtype
