"""How do linear recurrences stand beside the same ones in public JAX packages?

The recurrences alone, `h = a h + b`, real and complex, and the gated delta rule with its matrix for a state; and whole
layers with equal parameters. All are checked to compute the same before they are timed.
"""

import argparse

import numpy as np

from benchmarks.harness import Question, main
from benchmarks.linear import about, draw, mebibytes, show, times
from benchmarks.linear_peers import OURS, Entrant, installed, jaxrnn
from benchmarks.linear_peers.problems import SHAPES, Problem, make_problem, quick_shape
from benchmarks.parity import ParityError
from benchmarks.peers import Field, Program
from benchmarks.results import Result, Row
from benchmarks.timing import round_robin, summary

TOLERANCE = 1e-4


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    modules = installed(field.skipped)
    rows: list[Row] = []
    for kind, shapes in SHAPES.items():
        for shape in [quick_shape(kind)] if args.quick else shapes:
            given = make_problem(kind, shape, args.seed)
            if others := [it for module in modules for it in module.entrants(given)]:
                found = admitted(given, [jaxrnn.entrant(given), *others], field.skipped)
                rows += compare(kind, shape, found, args.repeats)
    return rows


def compare(kind: str, shape: tuple[int, ...], found: dict[Entrant, dict[str, Program]], repeats: int) -> list[Row]:
    def row(what: str, it: Entrant) -> Row:
        return about(kind, times(*shape), what, it.name) | {"note": it.note}

    rows: list[Row] = []
    for what in ("forward", "training"):
        calls = {it.name: programs[what] for it, programs in found.items()}
        samples = round_robin(dict(calls), repeats, f"{kind} {times(*shape)}")
        rows += [row(what, it) | summary(samples[it.name]) for it in found]
    return rows + [row("temporaries", it) | {"median": mebibytes(two["training"])} for it, two in found.items()]


def admitted(given: Problem, entrants: list[Entrant], skipped: dict[str, str]) -> dict[Entrant, dict[str, Program]]:
    """The programs of all that compute what the first one does. One that breaks down is left out aloud.

    Raises:
      ParityError: outputs, or gradients of the last argument, deviate.
    """
    found: dict[Entrant, dict[str, Program]] = {}
    expected: dict[str, np.ndarray] = {}
    for it in entrants:
        programs = it.programs(given.cotangent)
        try:
            results = {"outputs": programs["forward"](), "gradients of inputs": programs["training"]()[-1]}
        except Exception as error:  # whatever a package may raise: one does not end the run
            if it.name == OURS:
                raise
            skipped[f"{it.name}, {given.kind}"] = f"failed with {type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        arrays = {what: it.time_major(array) for what, array in results.items()}
        expected = expected or arrays
        for what, right in expected.items():
            deviation = float(np.abs(arrays[what] - right).max() / np.abs(right).max())
            if not deviation < TOLERANCE:
                raise ParityError(f"{it.name}: {what} of {given.kind} deviate by {deviation:.1e} from {OURS}'s")
        found[it] = programs
    return found


def show_with_notes(result: Result) -> str:
    notes = {f"{row['contender']}, {row['cell']}: {row['note']}." for row in result["rows"] if row["note"]}
    return "\n\n".join([show(result), *sorted(notes)])


QUESTION = Question("packages", __doc__, measure, show_with_notes, draw)

if __name__ == "__main__":
    main(QUESTION)
