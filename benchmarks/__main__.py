"""Runs the benchmarks, each script in a process of its own: `python -m benchmarks --help`."""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.harness import parse, parser
from benchmarks.problems import CELLS

QUESTIONS = (
    "against_peers",
    "half_precision",
    "scaling",
    "memory",
    "compile_time",
    "vmap_cost",
    "networks",
    "own_cell",
    "shares",
    "cpu_ideas",
    "sharding",
    "linear",
    "packages",
    "local_attention",
    "long_sequences",
    "characters",
    "character_speed",
    "serving",
    "ponder",
    "tasks",
    "catalogue",
)
NAMED = ("accelerator",)  # not without being asked for: a CPU would take days
STOPPED = 130  # by Ctrl-C
ABOUT = """Benchmarks of jaxrnn on the devices that JAX finds, one script a question:
  against_peers   forward and training beside other libraries, and beside the matrix products alone
  half_precision  forward and training in bfloat16
  scaling         time a step and GFLOP/s as T, B and H grow
  memory          temporary memory of training
  compile_time    beside Flax
  vmap_cost       vmap over the batch, beside a batch axis
  networks        deep networks beside PyTorch's
  own_cell        a user's cell beside the built-in one, and beside loops by hand
  shares          what forward time is made of: matrix products, transcendental functions, the rest
  cpu_ideas       the batch split over CPU devices; cheaper sigmoids
  sharding        several devices: what each way exchanges, and what it would be worth on a pod
  linear          linear recurrences beside JAX's scans, and their cells beside dense ones
  packages        linear recurrences beside public JAX packages
  local_attention attention in blocks beside the scores of all pairs
  long_sequences  memory and time as a sequence grows, by each kind of checkpoint
  characters      cells on one text: how well each reads it
  character_speed every cell on that text: how fast it trains
  serving         a streaming step that was exported, by batch
  ponder          adaptive computation on harder and easier inputs
  tasks           tasks with published figures: which cells learn them
  catalogue       every cell: time beside torchrecurrent and memax, and what it learns with equal parameters
  accelerator     only if --only names it, on a GPU: layers beside other libraries and the least time possible
Each writes a table to the terminal, and <name>.json and <name>.png to --out. One alone: python -m benchmarks.<name>."""


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(ABOUT)
    options.add_argument(
        "--only", nargs="+", choices=(*QUESTIONS, *NAMED), default=list(QUESTIONS), help="these questions"
    )
    args = options.parse_args(argv)
    parse(options, argv)  # what is wrong ends here, before anything runs
    failed = []
    for name in args.only:
        print(f"── {name}", flush=True)
        # A process each, because compiled programs, thread pools and the allocator's state would outlast a script.
        command = [sys.executable, "-m", f"benchmarks.{name}", *_flags(args)]
        try:
            status = subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            status = STOPPED
        if status == STOPPED:
            return STOPPED
        if status:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def _flags(args: argparse.Namespace) -> list[str]:
    """The options again, as they are given to each script, which has defaults of its own for others."""
    flags = []
    for name, value in vars(args).items():
        if name == "only" or value is None or value is False or (name == "cells" and value == list(CELLS)):
            continue  # without --cells each script takes its own
        flags.append(f"--{name.replace('_', '-')}")
        if value is not True:
            flags += map(str, value) if isinstance(value, list) else [str(value)]
    return flags


if __name__ == "__main__":
    sys.exit(main())
