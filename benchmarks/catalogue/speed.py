"""Times the value and the gradient of each cell as a layer, beside the layers of other packages."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import jax
import numpy as np

import jaxrnn
from benchmarks.catalogue.registry import CHANNELS, LeftOut, count, inputs, timed_cell
from benchmarks.environment import Bystanders
from benchmarks.parity import ParityError
from benchmarks.problems import Shape
from benchmarks.results import Row
from benchmarks.timing import round_robin, summary

SHAPE, TINY = Shape(32, 128, 128, 128), Shape(2, 5, 8, 8)
WHAT = "training"


def timed(
    args: argparse.Namespace, names: Iterable[str], shape: Shape, modules: list[ModuleType]
) -> Iterator[list[Row]]:
    """Yields the rows of each cell once all who have it have been timed in turns; a row without has a `why`."""
    for name in names:
        try:
            cell = timed_cell(name, shape.H)
        except LeftOut as why:
            yield [{"cell": name, "what": WHAT, "contender": "jaxrnn", "setting": setting(shape), "why": str(why)}]
            continue
        xs = inputs(cell, shape, args.seed)
        about: Row = {"cell": name, "what": WHAT, "shape": described(cell, xs, shape), "structure": cell.structure}
        about["setting"] = setting(shape)
        calls: dict[str, Callable[[], Any]] = {"jaxrnn": ours(cell, xs, args.seed)}
        rows = {"jaxrnn": about | {"contender": "jaxrnn", "parameters": count(cell, xs.shape[-1])}}
        for module in modules:
            if name in module.names():
                try:
                    peer = module.peer(name, shape, args.seed)
                    peer.training()
                except ParityError:
                    raise
                except Exception as error:  # whatever a package may raise: one layer does not end the run
                    said = str(error).partition("\n")[0]
                    why = f"failed with {type(error).__name__}: {said}"
                    rows[module.NAME] = about | {"contender": module.NAME, "why": why}
                    continue
                calls[peer.name] = peer.training
                rows[peer.name] = about | {
                    "contender": peer.name,
                    "layer": peer.layer,
                    "parameters": peer.parameters,
                    "checked": peer.checked,
                    "note": peer.note,
                }
        others = Bystanders()
        samples = round_robin(calls, args.repeats, name, again=False)
        busy = {"busy": round(others.cores(), 2)}
        yield [row | busy | (summary(samples[name]) if name in samples else {}) for name, row in rows.items()]


def setting(shape: Shape) -> str:
    """What was timed, for a run that goes on."""
    return "×".join(map(str, shape))


def described(cell: jaxrnn.Cell, xs: np.ndarray, shape: Shape) -> str:
    """Batch, steps, input features and features; of images also their height and width."""
    width = shape.H if cell.num_feature_axes == 1 else CHANNELS
    return "×".join(map(str, [xs.shape[1], xs.shape[0], *xs.shape[2:], width]))


def ours(cell: jaxrnn.Cell, xs: np.ndarray, seed: int) -> Callable[[], Any]:
    """Computes a weighted sum of the outputs with its gradients in parameters and inputs."""
    params = cell.init(jax.random.key(seed), jax.numpy.asarray(xs[0, 0]))
    shape = jax.eval_shape(lambda params, xs: jaxrnn.unroll(cell, params, xs)[1], params, xs).shape
    cotangent = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    def weighed(params: Any, xs: jax.Array) -> jax.Array:
        return (jaxrnn.unroll(cell, params, xs)[1] * cotangent).sum()

    both, given = jax.jit(jax.value_and_grad(weighed, argnums=(0, 1))), jax.numpy.asarray(xs)
    return lambda: jax.block_until_ready(both(params, given))
