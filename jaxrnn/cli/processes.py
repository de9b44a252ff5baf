"""Joins the processes of a run, compares what they were started with, and ends all of them when one dies."""

import hashlib
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.cli.last_words import LastWords
from jaxrnn.cli.problem import Common, Problem
from jaxrnn.types import Array

T = TypeVar("T")

AUTO = "auto"  # for --coordinator: JAX finds it by itself
PATIENCE = 60  # seconds in which all processes have to come
SILENCE = 30  # seconds without a sign of life after which JAX counts a process as dead
LONGEST = 1024  # bytes of a problem that other processes show
DIED = (
    "jaxrnn: the run has ended early, because this process or another one of it has died; the last lines of the others "
    "say why, and --resume goes on from the last record or the one before it, with as many processes as you like"
)


def address(written: str) -> str:
    """Parses a coordinator: `HOST:PORT`, or `auto`."""
    host, _, port = written.rpartition(":")
    if written != AUTO and not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(written)
    return written


def checked(args: Namespace) -> None:
    """Raises a `Problem` if the flags of processes do not fit together."""
    given = {"--processes": args.processes, "--process": args.process}
    for flag, value in given.items():
        if args.coordinator is None and value is not None:
            raise Problem(
                f"{flag} is {value}, but --coordinator is not given; give the HOST:PORT of process 0, or auto"
            )
        if args.coordinator == AUTO and value is not None:
            raise Problem(f"{flag} is {value}, but --coordinator auto finds it by itself; drop {flag}")
        if args.coordinator not in (None, AUTO) and value is None:
            raise Problem(
                f"--coordinator is {args.coordinator}, but {flag} is not given; give it, or --coordinator auto"
            )
    if args.process is not None and args.process >= args.processes:
        raise Problem(f"--process is {args.process}, expected 0 to {args.processes - 1}: it is below --processes")


@contextmanager
def joined(args: Namespace) -> Iterator[None]:
    """Joins the other processes of a run, if it has any, and leaves them when all have come to their end.

    When a process dies, the others fail in their next collective operation, or JAX misses its signs of life and aborts
    them. Whatever happens, the last line of each process is one that is meant for people.

    Args:
      args: `coordinator`, None for a run of one process; `processes`; `process`, the number of this one.

    Raises:
      Problem: the processes cannot join.
    """
    if args.coordinator is None:
        yield
        return
    reachable(args)
    words = LastWords()
    only_python_writes()
    try:
        words.set(
            f"jaxrnn: --coordinator {args.coordinator}: not all processes have come within {PATIENCE} s; start process "
            "0 there, and the others, each with its own --process, within that time"
        )
        join(args)
        words.set(DIED)
        yield
    except BaseException as error:
        if is_loss(error):
            words.say()
            leave(1)
        if isinstance(error, Common):
            jax.distributed.shutdown()  # which waits until the others have found it, too
        words.close()
        raise
    jax.distributed.shutdown()
    words.close()


def reachable(args: Namespace) -> None:
    """Raises a `Problem` where JAX would crash or wait in vain: at a port that is in use, or a host that is unknown."""
    if args.coordinator == AUTO:
        return
    host, _, port = args.coordinator.rpartition(":")
    try:
        if args.process == 0:
            socket.create_server(("", int(port))).close()
        else:
            socket.getaddrinfo(host.strip("[]"), port)
    except OSError as error:
        said = "process 0 cannot listen there" if args.process == 0 else "the host is not found"
        raise Problem(
            f"--coordinator {args.coordinator}: {said} ({error.strerror}); name the host of process 0 and a free port"
        ) from None


def join(args: Namespace) -> None:
    """Lets JAX find the other processes."""
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, at which a run is saved
    try:
        jax.distributed.initialize(
            None if args.coordinator == AUTO else args.coordinator,
            args.processes,
            args.process,
            initialization_timeout=PATIENCE,
            heartbeat_timeout_seconds=SILENCE,
        )
    except Exception as error:  # of any kind: what detects a cluster may lack a package or a variable
        raise Problem(
            f"--coordinator {args.coordinator}: JAX cannot join the processes ({error}); give the HOST:PORT of process "
            "0, --processes and --process"
        ) from None


def leave(status: int) -> NoReturn:
    """Ends this process; at once, if it is still joined to others, for whose end JAX would wait."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def is_loss(error: BaseException) -> bool:
    """Returns whether a collective operation has failed because another process is gone."""
    said = "" if isinstance(error, Problem) else str(error)
    return any(name in said for name in ("Gloo", "NCCL", "CoordinationService"))


def only_python_writes() -> None:
    """Discards what compiled libraries write to the terminal, such as the stack of JAX when a process has died.

    Whoever sets TF_CPP_MIN_LOG_LEVEL to 0, as XLA's users do to see more, sees it.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":  # JAX sets it to 1 where it is not set
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        kept = os.dup(stream.fileno())
        os.dup2(nowhere, stream.fileno())
        setattr(sys, name, os.fdopen(kept, "w", encoding=stream.encoding, errors=stream.errors))
    os.close(nowhere)


def first() -> bool:
    """Returns whether this is process 0, which alone writes and shows; it starts JAX's backend."""
    return jax.process_index() == 0


def several() -> bool:
    """Returns whether the run has several processes."""
    return jax.process_count() > 1


def agree(told: dict[str, Any]) -> None:
    """Raises a `Problem` in every process if what they were told is not the same everywhere.

    Args:
      told: values with a `repr`, by the names that people know them by; the names are the same everywhere.
    """
    if not several():
        return
    digests = [np.frombuffer(hashlib.sha256(repr(value).encode()).digest(), np.uint32) for value in told.values()]
    everywhere = _over_processes(_each, np.stack(digests))
    same = (everywhere == everywhere[0]).all(axis=(0, 2))
    if not same.all():
        here = ", ".join(
            f"{name} (here {value})" for (name, value), one in zip(told.items(), same, strict=True) if not one
        )
        raise Common(f"the processes of the run differ in {here}; start all of them with the same")


def together(act: Callable[[], T]) -> T:
    """Returns what `act` returns here; if it raises a `Problem` in one process, every process raises one that says so.

    All processes have to call it at the same place, and `act` must not wait for others.
    """
    if not several():
        return act()
    said = ""
    try:
        result = act()
    except Problem as problem:
        said = str(problem)
    line = np.frombuffer(said.encode()[:LONGEST].ljust(LONGEST, b"\0"), np.uint8)
    everywhere = [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in _over_processes(_each, line)]
    if said:
        raise Common(said)
    for process, elsewhere in enumerate(everywhere):
        if elsewhere:
            raise Common(f"process {process} of the run has ended: {elsewhere}")
    return result


def shared(data: bytes | None) -> bytes:
    """Returns the bytes that process 0 has, in every process; the others give None."""
    size = int(_over_processes(_total, np.uint32(0 if data is None else len(data))))
    sent = np.zeros(size, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return _over_processes(_total, sent).tobytes()


def anywhere(flag: bool) -> bool:
    """Returns whether `flag` is True in any process; all of them have to ask at the same step."""
    return bool(_over_processes(_any, np.bool_(flag))) if several() else flag


def _over_processes(function: Callable[[Array], Array], value: Any) -> np.ndarray:
    """Returns a function of the values that the processes have, which lie along its first axis."""
    mesh = _one_device_each()
    stacked = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("process")), value[None])
    return np.asarray(jax.jit(function, out_shardings=NamedSharding(mesh, PartitionSpec()))(stacked))


@cache
def _one_device_each() -> Mesh:
    chosen = {device.process_index: device for device in reversed(jax.devices())}
    return Mesh(np.array([chosen[process] for process in range(jax.process_count())]), ("process",))


def _each(values: Array) -> Array:
    return values


def _total(values: Array) -> Array:
    return values.sum(axis=0, dtype=values.dtype)


def _any(values: Array) -> Array:
    return values.any(axis=0)
