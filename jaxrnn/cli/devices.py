"""Splits the batch of a run over devices; parameters and the optimizer's state are whole on each of them."""

import contextlib
import os
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.cli.problem import Common, Problem
from jaxrnn.train import State

AXIS = "batch"
WHOLE, ROWS, COLUMNS = PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(None, AXIS)
Count = int | Literal["all"]


def prepare(count: Count) -> None:
    """Makes the CPU as many devices as are asked for, but no more than it has cores.

    It has to be called before JAX starts its backend. The number that a user has given to JAX or XLA stays.
    """
    configured = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]
    if count == 1 or configured or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # the backend has started: then the devices are what they are
        jax.config.update("jax_num_cpu_devices", cores if count == "all" else min(count, cores))


def mesh(count: Count) -> Mesh:
    """Returns the mesh of the devices that train: `count` of each process, all of which have equally many."""
    here = jax.local_device_count()
    if count != "all" and count > here:
        verb = "is" if here == 1 else "are"
        raise Common(f"--devices is {count}, but there {verb} {here} here; give at most {here}, or all")
    groups: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        groups.setdefault(device.process_index, []).append(device)
    chosen = [device for group in groups.values() for device in (group if count == "all" else group[:count])]
    return Mesh(np.array(chosen), (AXIS,))


def divided(batch: int, count: int) -> None:
    """Raises a `Problem` if a number of devices does not divide a batch."""
    if left := batch % count:
        near = f"{batch - left} or {batch - left + count}" if batch > left else count
        raise Problem(
            f"--batch is {batch}, which {count} devices do not divide; give {near}, or another number of --devices"
        )


def layout(mesh: Mesh) -> State:
    """Returns where each part of a training state lies: the carry has its rows split, for they come first in it."""
    everywhere: Any = NamedSharding(mesh, WHOLE)  # for each array of a part
    return State(everywhere, everywhere, NamedSharding(mesh, ROWS))


def placed(state: State, layout: State) -> State:
    """Puts a state, which every process has whole, on the devices as `layout` says."""

    def put(tree: Any, sharding: NamedSharding) -> Any:
        return jax.tree.map(lambda leaf: _put(np.asarray(leaf), sharding), tree)

    return State(*map(put, state, layout))


def split(window: np.ndarray, mesh: Mesh) -> jax.Array:
    """Puts a window, `[T, batch]`, on the devices, each of which gets its part of the batch."""
    return _put(window, NamedSharding(mesh, COLUMNS))


def whole(state: State) -> State:
    """Returns a state in NumPy arrays. What other processes have of it is fetched, so all of them have to call it."""

    def fetched(leaf: Any) -> np.ndarray:
        elsewhere = isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated)
        return multihost_utils.process_allgather(leaf, tiled=True) if elsewhere else np.asarray(leaf)

    return jax.tree.map(fetched, state)


def local(tree: Any) -> Any:
    """Returns replicated arrays as they are on one device of this process, for programs that run there alone."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _put(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
