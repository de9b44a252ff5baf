"""What is read from compiled programs, and timed, on the devices of this process.

`python -m benchmarks.parallel.trial` reads a `Plan` in JSON and prints its rows: where there is one device alone, the
question runs it in a process that has several virtual ones.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parallel.collectives import collectives, products
from benchmarks.parallel.cost_model import Sizes
from benchmarks.parallel.ways import WAYS, training
from benchmarks.peers import Program
from benchmarks.results import Row
from benchmarks.timing import round_robin, short, summary

STEP, PEAK = "step", "peak"
PRODUCT, COPY = "product", "copy"


class Plan(NamedTuple):
    """The work of one device, on how many devices, how often it is timed, and sizes of the peaks' arrays."""

    sizes: Sizes
    counts: Sequence[int]
    repeats: int
    seed: int
    peak: int


def rows(plan: Plan) -> list[Row]:
    """A row a way and number of devices, and the peaks of one device."""
    devices = jax.devices()
    found, calls = [], {}
    for name, way in WAYS.items():
        for count in plan.counts:
            sizes = way.grown(plan.sizes, count)
            step = training(way, sizes, devices[:count])
            compiled = step.compile(jax.default_backend())
            text, memory = compiled.as_text(), compiled.memory_analysis()
            cost = way.cost(sizes, count)
            found.append(
                {
                    "what": STEP,
                    "contender": name,
                    "devices": count,
                    "sizes": list(sizes),
                    "collectives": collectives(text),
                    "predicted": cost.collectives,
                    "flop": products(text) if devices[0].platform == "cpu" else None,
                    "predicted_flop": cost.flop,
                    "temporaries": short(memory.temp_size_in_bytes / 2**20),
                    "arguments": short(memory.argument_size_in_bytes / 2**20),
                }
            )
            calls[f"{name} {count}"] = Program(compiled, _drawn(step.args, plan.seed))
    times = round_robin(dict(calls), plan.repeats, "sharding")
    steps = [row | summary(times[f"{row['contender']} {row['devices']}"]) for row in found]
    return steps + _peaks(plan.peak, plan.repeats)


def _drawn(structs: Any, seed: int) -> Any:
    """Arrays of these shapes, which lie where the program reads them."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(
        lambda it: jax.device_put((0.1 * draw.standard_normal(it.shape)).astype(it.dtype), it.sharding), structs
    )


def _peaks(n: int, repeats: int) -> list[Row]:
    """A large square product, and an array as large as 16 of its factors, read and written."""
    a, b = jnp.ones((n, n)), jnp.ones((16 * n, n))
    calls = {PRODUCT: Program(jax.jit(jnp.matmul), (a, a)), COPY: Program(jax.jit(jnp.negative), (b,))}
    times = round_robin(dict(calls), repeats, "peaks")
    work = {PRODUCT: {"flop": 2 * n**3, "bytes": 0}, COPY: {"flop": 0, "bytes": 2 * b.nbytes}}
    return [{"what": PEAK, "contender": name, "devices": 1} | work[name] | summary(times[name]) for name in calls]


if __name__ == "__main__":
    sizes, *others = json.loads(sys.argv[1])
    print(json.dumps(rows(Plan(Sizes(*sizes), *others))))
