"""What does each way to train on several devices exchange, and what would it be worth on a pod?

Where JAX finds several devices, on 1, 2, 4 … of them; else on 8 virtual ones, which share the cores of this machine, so
that their times say little. The collectives of a training step are read from the compiled programs. A model of the cost
predicts them, and the time of a step on pods of 8 to 4,096 chips.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import jax

from benchmarks.harness import Question, main
from benchmarks.parallel import cost_model, figure, tables, trial
from benchmarks.parallel.chips import CHIPS
from benchmarks.parallel.cost_model import Sizes
from benchmarks.parallel.ways import WAYS
from benchmarks.peers import Field
from benchmarks.results import Row
from benchmarks.timing import short

ROOT = Path(__file__).parents[1]
VIRTUAL, ROUNDS = 8, 5
QUICK = Sizes(T=4, B=2, D=8, H=8, chunk=2)
ON_CPU = Sizes(T=32, B=16, D=128, H=128, chunk=8)
ON_ACCELERATORS = Sizes(T=512, B=64, D=1024, H=1024, chunk=64)
PODS = Sizes(T=512, B=64, D=1024, H=4096, chunk=32)
POD_COUNTS = tuple(2**i for i in range(3, 13))


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    found = jax.devices()
    accelerated = found[0].platform != "cpu"
    available = len(found) if len(found) > 1 else VIRTUAL
    counts = (1, 4) if args.quick else tuple(2**i for i in range(available.bit_length()))
    sizes = QUICK if args.quick else ON_ACCELERATORS if accelerated else ON_CPU
    peak = 32 if args.quick else 8192 if accelerated else 1024
    plan = trial.Plan(sizes, counts, min(args.repeats, ROUNDS), args.seed, peak)
    return (trial.rows(plan) if len(found) > 1 else _on_virtual_devices(plan)) + predictions()


def _on_virtual_devices(plan: trial.Plan) -> list[Row]:
    """The rows of a process with virtual CPU devices, as their number is fixed when JAX starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={max(plan.counts)}"
    command = [sys.executable, "-m", "benchmarks.parallel.trial", json.dumps(plan)]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def predictions() -> list[Row]:
    """A row a chip, way and size of a pod."""
    rows = []
    for chip in CHIPS:
        for name, way in WAYS.items():
            alone = way.cost(way.grown(PODS, 1), 1)
            for count in POD_COUNTS:
                sizes = way.grown(PODS, count)
                cost = way.cost(sizes, count)
                rows.append(
                    {
                        "what": tables.POD,
                        "chip": chip.name,
                        "contender": name,
                        "devices": count,
                        "sizes": list(sizes),
                        "median": short(1e3 * cost_model.seconds(cost, chip, count)),
                        "efficiency": short(cost_model.efficiency(cost, alone, chip, count)),
                    }
                )
    return rows


QUESTION = Question("sharding", __doc__, measure, tables.show, figure.draw)

if __name__ == "__main__":
    main(QUESTION)
