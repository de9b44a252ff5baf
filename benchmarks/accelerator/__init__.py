"""How fast is a layer on a GPU, beside other libraries and beside what the device could do?

Dense cells and linear recurrences at sizes that give an accelerator something to do, in three dtypes, forward and in
training. Each library, and each method of jaxrnn, gets the same weights and must return the same outputs and gradients,
or it is not timed. The most important comparisons come first, and none is begun after `--minutes`. What is finished
stands in `accelerator.jsonl` beside the result: the same command goes on where it was stopped, and leaves out what
brought it down.
"""

import argparse
import sys

import jax
from tqdm import tqdm

from benchmarks.accelerator import roofline
from benchmarks.accelerator.clock import Budget
from benchmarks.accelerator.figure import draw
from benchmarks.accelerator.jobs import DTYPES, GRAPHS, LINEAR, Job, planned
from benchmarks.accelerator.journal import Done, Journal
from benchmarks.accelerator.tables import show
from benchmarks.accelerator.trial import RESERVE_S, Bench, DeviceLost
from benchmarks.environment import environment
from benchmarks.harness import Question
from benchmarks.peers import Field
from benchmarks.problems import ACCELERATOR_SHAPES, CELLS
from benchmarks.results import Row

LATER = "the time was up; the same command goes on"
PEAKS_JOB = (roofline.PEAKS,)


def extend(options: argparse.ArgumentParser) -> None:
    """Adds what this question alone asks. Its data do not change from run to run, so that it can go on."""
    options.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    options.add_argument("--graphs", choices=GRAPHS, default="both", help="XLA's options for CUDA graphs")
    options.add_argument(
        "--minutes", type=positive, default=8.0, help="begin nothing after them (default: %(default)s)"
    )
    options.set_defaults(seed=0, repeats=7)


def positive(text: str) -> float:
    """A number of minutes that some time goes by in."""
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text}, expected more than 0")
    return float(text)


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    """Makes the jobs that are not in the journal while there is time, then returns the rows of all that are there."""
    if jax.default_backend() == "cpu" and args.shapes == list(ACCELERATOR_SHAPES):
        print("accelerator: JAX finds no accelerator here; --quick tries everything on tiny shapes", file=sys.stderr)
        raise SystemExit(2)
    journal, budget, jobs = Journal(args.out / "accelerator.jsonl", setting(args)), Budget(args.minutes), planned(args)
    bench = Bench(field, journal, budget, seed=args.seed, repeats=args.repeats)
    try:
        if journal.done(PEAKS_JOB) is None:
            small = args.quick or jax.default_backend() == "cpu"
            journal.end(PEAKS_JOB, Done(roofline.measured(DTYPES, args.repeats, small=small), {}, complete=True))
        work_off(jobs, bench, journal, budget)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
    except DeviceLost as error:
        print(f"\nthe device failed, so the run ends; the same command goes on without {error}")
    return gathered(jobs, journal, field)


def work_off(jobs: list[Job], bench: Bench, journal: Journal, budget: Budget) -> None:
    """Makes the jobs that are not complete, in their order, until the time is up."""
    with tqdm(jobs, unit="job") as bar:
        for job in bar:
            bar.set_description(str(job))
            done = journal.done(job)
            if (done and done.complete) or budget.left() < RESERVE_S:
                continue
            try:
                journal.end(job, bench.run(job))
            except KeyboardInterrupt:
                journal.interrupted(job)
                raise


def gathered(jobs: list[Job], journal: Journal, field: Field) -> list[Row]:
    """The rows of the peaks and of all jobs; notes who took no part, and what is left for another run."""
    peaks = journal.done(PEAKS_JOB)
    rows = [*peaks.rows] if peaks else []
    for job in jobs:
        done = journal.done(job) or Done([], {}, complete=False)
        rows += done.rows
        field.skipped |= done.skipped
        if not done.complete:
            field.skipped[str(job)] = LATER
    return rows


def setting(args: argparse.Namespace) -> str:
    """Whatever changes the figures, or who takes part: rows of another setting are not taken from the journal."""
    env = environment(args)
    versions = [f"{name} {version}" for name, version in env["versions"].items()]
    variables = [f"{name}={value}" for name, value in env["settings"].items()]
    options = [f"{args.repeats} rounds", f"seed {args.seed}", f"quick {args.quick}", f"peers {' '.join(args.peers)}"]
    return ", ".join([*env["devices"], str(env["driver"]), str(env["revision"]), *versions, *variables, *options])


QUESTION = Question(
    "accelerator",
    __doc__,
    measure,
    show,
    draw,
    cells=(*CELLS, *LINEAR),
    shapes=ACCELERATOR_SHAPES,
    extend=extend,
)
