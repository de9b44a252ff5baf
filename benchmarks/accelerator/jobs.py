"""What is timed on an accelerator, in the order of its importance, and its random data."""

import argparse
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

import jaxrnn
from benchmarks.linear import normal, uniform
from benchmarks.problems import ACCELERATOR_SHAPES, CELLS, TITLES, Case, make_case, shape_of

SCAN = "linear_scan"
LINEAR = (SCAN, "min_gru", "lru", "gla")
NAMES = TITLES | {SCAN: "h = a h + b", "min_gru": "minGRU", "lru": "LRU", "gla": "gated linear attention"}
DTYPES = ("float32", "bfloat16", "float16")
LONG = "16k"
GRAPHS = {"without": (False,), "with": (True,), "both": (False, True)}
# A job's rank is the sum of these, and the lowest comes first: what the targets ask for, in the dtypes of practice.
RANKS = {
    **{"lstm": 0, SCAN: 1, "gru": 3, "min_gru": 3, "lru": 4, "gla": 4, "elman": 5},
    **{"deep": 0, LONG: 0, "rows": 2, "wide": 2},
    **{"float32": 0, "bfloat16": 0, "float16": 3},
}
RANK_OF_GRAPHS = 2


class Job(NamedTuple):
    """One comparison: all contenders take turns in it.

    Attributes:
      cell: its name.
      shape: a name or four numbers.
      dtype: of the computation.
      graphs: whether XLA is asked to make a CUDA graph of each whole program; contenders that XLA does not compile
        take no part then.
    """

    cell: str
    shape: str
    dtype: str
    graphs: bool

    def __str__(self) -> str:
        return f"{self.cell} {self.shape} {self.dtype}" + (", graphs" if self.graphs else "")

    @property
    def rank(self) -> int:
        ranks = (RANKS.get(name, 0) for name in (self.cell, self.shape, self.dtype))
        return sum(ranks) + RANK_OF_GRAPHS * self.graphs


def planned(args: argparse.Namespace) -> list[Job]:
    """The jobs that the options ask for, the most important ones first."""
    jobs = [
        Job(cell, shape, dtype, graphs)
        for cell in args.cells
        for shape in args.shapes
        if fits(cell, shape)
        for dtype in args.dtypes
        for graphs in GRAPHS[args.graphs]
    ]
    return sorted(jobs, key=lambda job: job.rank)


def fits(cell: str, shape: str) -> bool:
    """Of the shapes with names, the long one is for linear recurrences alone, and the others are for dense ones."""
    return shape not in ACCELERATOR_SHAPES or (shape == LONG) == (cell in LINEAR)


def case_of(job: Job, seed: int) -> Case:
    """The job's parameters and data, the same in every dtype. `linear_scan` has its multipliers in `params`."""
    shape = shape_of(job.shape)
    if job.cell in CELLS:
        return make_case(job.cell, shape, seed, job.dtype)
    rng = np.random.default_rng([seed, *shape, *job.cell.encode()])
    steps = (shape.T, shape.B)
    xs, cotangent = normal(rng, *steps, shape.D), normal(rng, *steps, shape.H)
    case = Case(job.cell, shape, {}, xs, cotangent, job.dtype)
    if job.cell == SCAN:
        return replace(case, params={"a": uniform(rng, 0.5, 1, *steps, shape.H)}, xs=normal(rng, *steps, shape.H))
    params = getattr(jaxrnn, job.cell)(shape.H).init(jax.random.key(seed), shape.D)
    return replace(case, params=jax.tree.map(np.asarray, params))
