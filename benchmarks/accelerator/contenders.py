"""Who takes part in a job: jaxrnn by each of its methods, then its peers."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn
from benchmarks.accelerator.jobs import SCAN, Job
from benchmarks.linear import by_loop, by_tree
from benchmarks.peers import Contender, Field, NotOffered, of_jax
from benchmarks.peers.jaxrnn import CELLS, params_of
from benchmarks.problems import Case

OURS = "jaxrnn"
METHODS = {
    "lstm": ("auto", "cudnn", "kernel"),
    "gru": ("auto", "kernel"),
    "elman": ("auto", "kernel"),
    "gla": ("auto", "scan", "chunked", "kernel"),
}
ELEMENTWISE_METHODS = ("auto", "scan", "associative", "chunked", "kernel")
LOOPS = {"loop of lax.scan": by_loop, "lax's associative scan": by_tree}
PEERS = ("torch", "keras", "flax_linen", "flax_nnx", "haiku", "equinox")  # in the order of what they tell
FLASHRNN = "flashrnn"
OF_TORCH = ("torch", FLASHRNN)


def entrants(job: Job, case: Case, field: Field) -> Iterator[tuple[str, Callable[[], Contender]]]:
    """Names, and functions that make the contenders; they raise NotOffered where one takes no part."""
    for method in METHODS.get(job.cell, ELEMENTWISE_METHODS):
        yield name_of(method), partial(ours, case, method)
    if job.cell == SCAN:
        for name, run in LOOPS.items():
            yield name, partial(_loop, name, run, case)
    if job.cell not in CELLS:
        return
    for name in PEERS:
        if name in field.modules and not (job.graphs and name in OF_TORCH):
            yield name, partial(field.modules[name].contender, case)
    if not job.graphs:
        yield FLASHRNN, partial(_flashrnn, case)


def name_of(method: str) -> str:
    return OURS if method == "auto" else f"{OURS}: {method}"


def platform() -> str:
    """The name of JAX's default device's platform, as lowering knows it."""
    backend = jax.default_backend()
    if backend != "gpu":
        return backend
    return "rocm" if "rocm" in jax.devices()[0].client.platform_version.lower() else "cuda"


def ours(case: Case, method: str, remat: Any = None) -> Contender:
    """jaxrnn by `method`; `remat` is of cells alone.

    Raises:
      NotOffered: the cell has no such method on this platform.
    """
    if case.cell == SCAN:
        return _loop(name_of(method), lambda a, b: jaxrnn.linear_scan(a, b, method=method)[1], case, kind="ours")
    make = CELLS.get(case.cell) or getattr(jaxrnn, case.cell)
    cell = make(case.shape.H, dtype=case.dtype)
    here = platform()
    if method not in ("auto", *jaxrnn.methods(cell, platform=here)):
        raise NotOffered(f"jaxrnn.methods names no {method!r} for {case.cell} on {here}")

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs, method=method, remat=remat)[1]

    return of_jax(name_of(method), apply, params_of(case), case, kind="ours")


def _loop(name: str, run: Callable[..., jax.Array], case: Case, kind: Any = "jax") -> Contender:
    """A contender of `h = a h + b`, with both in the dtype of the case."""
    params = {"a": jnp.asarray(case.params["a"], case.dtype)}
    return of_jax(name, lambda params, b: run(params["a"], b), params, case, kind=kind)


def _flashrnn(case: Case) -> Contender:
    try:
        return import_module("benchmarks.accelerator.flashrnn").contender(case)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("benchmarks"):
            raise
        raise NotOffered(f"{error.name} is not installed; it is optional") from None
