"""One job: its contenders are compiled, compared with the definition, and timed in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator import clock, roofline
from benchmarks.accelerator.clock import Budget
from benchmarks.accelerator.contenders import entrants, ours
from benchmarks.accelerator.jobs import Job, case_of
from benchmarks.accelerator.journal import Done, Journal
from benchmarks.harness import identity
from benchmarks.parity import ParityError, deviation, results
from benchmarks.peers import Contender, Field, NotOffered, Program
from benchmarks.problems import Case
from benchmarks.results import Row
from benchmarks.timing import round_robin, summary

WHATS = ("forward", "training")
# Programs that make a CUDA graph of whatever can be in one, loops included.
GRAPH_OPTIONS = {
    "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,WHILE,CONDITIONAL,DYNAMIC_SLICE_FUSION",
    "xla_gpu_graph_min_graph_size": 1,
}
# Relative to the largest value. What is compared is what is timed, so float32 has the products of the device's default:
# TF32 has the mantissa of float16. An LSTM of 1,024 steps of which each product's inputs are rounded so deviates by
# 1e-3, and by 8e-3 with bfloat16's mantissa, in which some libraries also keep the carry.
TOLERANCES = {"float32": 1e-2, "bfloat16": 1e-1, "float16": 2e-2}
EXACT = 1e-4  # where a product of float32 is one
RESERVE_S = 25.0  # for the timing of whoever has been compiled


class DeviceLost(Exception):
    """The device does not answer any more; the message says after what."""


class Entry(NamedTuple):
    """A contender whose programs are compiled and right."""

    contender: Contender
    deviation: float
    seconds: dict[str, float]  # of compiling


@dataclass(frozen=True, eq=False)
class Compiled(Program):
    """A compiled program with its arguments."""

    seconds: float

    def temporary_bytes(self) -> int:
        return int(self.function.memory_analysis().temp_size_in_bytes)


def compiled(program: Program, options: dict[str, Any] | None) -> Compiled:
    start = time.perf_counter()
    function = program.function.lower(*program.args).compile(compiler_options=options)
    return Compiled(function, program.args, time.perf_counter() - start)


class Bench:
    """Makes jobs one after the other; keeps the results of the definition, which are the same in every dtype."""

    def __init__(self, field: Field, journal: Journal, budget: Budget, *, seed: int, repeats: int) -> None:
        self._field, self._journal, self._budget, self._seed, self._repeats = field, journal, budget, seed, repeats
        self._references: dict[Any, dict[str, np.ndarray]] = {}

    def run(self, job: Job) -> Done:
        """The rows of a job.

        Raises:
          DeviceLost: a program broke the device; the contender is given up.
        """
        case, given_up = case_of(job, self._seed), self._journal.given_up(job)
        found: list[Entry] = []
        skipped: dict[str, str] = {}
        for name, make in entrants(job, case, self._field):
            key = f"{name}, {job}"
            if name in given_up:
                skipped[key] = "given up, because the run ended or the device failed while it had its turn"
            elif self._budget.left() < RESERVE_S:
                return Done(self._timed(job, case, found, skipped), skipped, complete=False)
            else:
                self._journal.begin(job, name)
                try:
                    found.append(self._admitted(job, case, make))
                except Exception as error:  # whatever a library may raise: one contender does not end the run
                    skipped[key] = reason(error, ours=name.startswith("jaxrnn"))
                    self._check_device(job, name, skipped[key])
        return Done(self._timed(job, case, found, skipped), skipped, complete=True)

    def _admitted(self, job: Job, case: Case, make: Callable[[], Contender]) -> Entry:
        contender, seconds = make(), {}
        for what in WHATS:
            if program := contender.program(what):
                done = compiled(program, GRAPH_OPTIONS if job.graphs else None)
                contender, seconds[what] = replace(contender, **{what: done}), done.seconds
        found, right = everything(contender), self._reference(case, contender.computes)
        deviates = deviation(contender.name, found, right, tolerance(job.dtype), str(job), "jaxrnn's scan in float32")
        return Entry(contender, deviates, seconds)

    def _reference(self, case: Case, cell: str) -> dict[str, np.ndarray]:
        key = (cell, case.shape)
        if key not in self._references:
            self._references[key] = everything(ours(replace(case, cell=cell, dtype="float32"), "scan", remat="sqrt"))
        return self._references[key]

    def _check_device(self, job: Job, name: str, why: str) -> None:
        try:
            jnp.zeros(1).block_until_ready()
        except Exception:
            self._journal.give_up(job, name)
            raise DeviceLost(f"{name}, {job}: {why}") from None

    def _timed(self, job: Job, case: Case, found: list[Entry], skipped: dict[str, str]) -> list[Row]:
        if not found:
            return []
        rows, work = [], roofline.work(case)
        for what in WHATS:
            calls = {entry.contender.name: entry.contender.call(what) for entry in found}
            try:
                times = round_robin(calls, self._repeats, f"{job}, {what}", clock.turn, again=False)
            except Exception as error:
                skipped[f"{job}, {what}"] = f"while it was timed: {reason(error)}"
                continue
            for it, deviates, seconds in found:
                row = identity(case, job.shape, dtype=job.dtype, graphs=job.graphs, what=what, contender=it.name)
                row |= {"kind": it.kind, "note": it.note, "deviation": deviates, "compile_s": seconds.get(what)}
                row |= {"mib": mebibytes(calls[it.name])} | work[what]._asdict()
                rows.append(row | summary(times[it.name]))
        return rows


def tolerance(dtype: str) -> float:
    return EXACT if dtype == "float32" and jax.default_backend() == "cpu" else TOLERANCES[dtype]


def everything(contender: Contender) -> dict[str, np.ndarray]:
    """Outputs and gradients; those of parameters only of ours, because others have theirs in other forms."""
    return results(contender, weights=contender.kind == "ours")


def reason(error: Exception, *, ours: bool = False) -> str:
    """Why a contender takes no part, in one line."""
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, NotOffered | ParityError):
        return first
    if ours and isinstance(error, ValueError):
        return f"not for this shape: {first}"
    return f"failed with {type(error).__name__}: {first}"


def mebibytes(call: Any) -> float | None:
    """Temporary memory of a call; None where nothing tells."""
    found = call.temporary_bytes()
    return None if found is None else round(found / 2**20, 3)
