"""Do the cells learn what the literature says that they can, and fail where it says that they must?

Each task of `jaxrnn.tasks` with published figures is learned by a few models. Every model tries several learning rates
with one seed in a short run, because recurrent models learn such tasks in a narrow band of rates alone, and is then
trained with three seeds at the rate that was best on validation data. A run ends when its task is solved. Each
finished run is a line in `tasks.jsonl` beside the result: the same command goes on where it was interrupted.
"""

import argparse
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import plots
from benchmarks.harness import Question
from benchmarks.peers import Field
from benchmarks.results import Result, Row, digits, pick, table, unique
from benchmarks.tasks.journal import Journal, Run
from benchmarks.tasks.problem import Problem
from benchmarks.tasks.problems import CONTENDERS, PROBLEMS
from benchmarks.tasks.training import Outcome, learner

SEEDS = 3
QUICK = ("adding", "s3")  # real inputs and tokens


def extend(options: argparse.ArgumentParser) -> None:
    """Adds what this question alone asks; its seeds do not change from run to run, so that it can go on."""
    options.add_argument("--tasks", nargs="+", choices=PROBLEMS, help="learn only these (default: all; --quick: two)")
    options.set_defaults(seed=0)


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    """Trains what is not in the journal, then returns the rows of all tasks whose runs are there."""
    field.skipped.clear()  # no peer is asked
    journal = Journal(args.out / "tasks.jsonl")
    problems = {name: problem(args.quick) for name, problem in PROBLEMS.items()}
    names = args.tasks or (QUICK if args.quick else list(PROBLEMS))
    chosen = [(name, cell) for name in names for cell in problems[name].contenders if cell in args.cells]
    try:
        with tqdm(total=sum(len(problems[name].rates) + SEEDS for name, _ in chosen), unit="run") as bar:
            for name, cell in chosen:
                bar.set_description(f"{name}, {cell}")
                try:
                    for run in trained(journal, name, problems[name], cell, args.seed):
                        shown = "diverged" if run.valid is None else f"{run.valid:.3g}"
                        bar.set_postfix(rate=run.rate, seed=run.seed, updates=run.updates, score=shown)
                        bar.update()
                except ImportError as error:  # of a package that has the data
                    field.skipped[f"{name}, {cell}"] = str(error)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
    rows = []
    for name, problem in problems.items():
        for cell in problem.contenders:
            found = list(finished(journal, name, problem, cell, args.seed))
            rows += found
            if not found and (name, cell) in chosen:
                field.skipped.setdefault(f"{name}, {cell}", "its runs are not finished")
    return rows


def trained(journal: Journal, name: str, problem: Problem, cell: str, seed: int) -> Iterator[Run]:
    """Makes all runs of one model that are not in the journal: first of each rate, then of each seed at the best."""
    model = problem.contenders[cell](problem.size.width, problem.alphabet, problem.outputs)
    validated = problem.loss if problem.ranked_by_loss else None
    learned = learner(model, problem.data(), problem.loss, problem.score, problem.size.chunk, validated)

    def run(rate: float, seed: int, limit: int) -> Run:
        known = journal.find(name, cell, rate, seed, limit, setting(problem))
        if known is not None:
            return known
        outcome = learned(rate, seed, limit, problem.solved, problem.patience, problem.falling)
        return journal.add(as_run(name, cell, rate, seed, limit, problem, outcome))

    trials = []
    for rate in problem.rates:
        trials.append(run(rate, seed, problem.size.trial))
        yield trials[-1]
    rate = best(problem, trials).rate
    for i in range(SEEDS):
        yield run(rate, seed + i, problem.size.updates)


def setting(problem: Problem) -> str:
    ranked = ", ranked by loss" if problem.ranked_by_loss else ""
    return f"width {problem.size.width}, batch {problem.size.batch}, {problem.title}{ranked}"


def as_run(name: str, cell: str, rate: float, seed: int, limit: int, problem: Problem, outcome: Outcome) -> Run:
    def known(score: float) -> float | None:
        return score if math.isfinite(score) else None

    tests = {shape: known(score) for shape, score in outcome.tests.items()}
    return Run(
        name,
        cell,
        rate,
        seed,
        limit,
        setting(problem),
        outcome.updates,
        known(outcome.valid),
        tests,
        outcome.parameters,
    )


def best(problem: Problem, trials: list[Run]) -> Run:
    """The run with the best score; among those that solved the task, the quickest."""

    def order(run: Run) -> Any:
        if run.valid is None:
            return (2, 0.0)
        if problem.solved(run.valid):
            return (0, run.updates)
        return (1, -run.valid if problem.more_is_better and not problem.ranked_by_loss else run.valid)

    return min(trials, key=order)


def finished(journal: Journal, name: str, problem: Problem, cell: str, seed: int) -> Iterator[Row]:
    """One row for each test of a model, if all of its runs are there."""

    def find(rate: float, seed: int, limit: int) -> Run | None:
        return journal.find(name, cell, rate, seed, limit, setting(problem))

    trials = [run for rate in problem.rates if (run := find(rate, seed, problem.size.trial))]
    if len(trials) < len(problem.rates):
        return
    rate = best(problem, trials).rate
    runs = [run for i in range(SEEDS) if (run := find(rate, seed + i, problem.size.updates))]
    if len(runs) < SEEDS:
        return
    for shape in runs[0].tests:
        scores = [run.tests[shape] for run in runs]
        samples = [problem.chance if score is None else score for score in scores]
        yield {
            "task": name,
            "title": problem.title,
            "contender": cell,
            "cell": cell,
            "shape": shape,
            "metric": problem.metric,
            "chance": problem.chance,
            "published": problem.published,
            "median": float(np.median(samples)),
            "samples": samples,
            "diverged": scores.count(None),
            "learning_rate": rate,
            "tried": {f"{run.rate:g}": run.valid for run in trials},
            "updates": [run.updates for run in runs],
            "limit": problem.size.updates,
            "trial": problem.size.trial,
            "width": problem.size.width,
            "batch": problem.size.batch,
            "parameters": runs[0].parameters,
        }


def show(result: Result) -> str:
    blocks = []
    for task in unique(result["rows"], "task"):
        rows = pick(result["rows"], task=task)
        first, lines = rows[0], []
        number = "{:.3f}".format if first["metric"] == "accuracy" else digits
        for row in rows:
            name = f"{row['contender']}, {row['shape']}" if row["shape"] else row["contender"]
            spread = f"{number(min(row['samples']))}–{number(max(row['samples']))}"
            took = "–".join(dict.fromkeys(f"{end(row['updates']):,}" for end in (min, max)))
            rate, count = f"{row['learning_rate']:g}", f"{row['parameters']:,}"
            lines.append([name, number(row["median"]), spread, took, rate, count, str(row["diverged"] or "–")])
        head = [first["title"], first["metric"], "over seeds", "updates", "learning rate", "parameters", "diverged"]
        said = (
            f"Chance: {number(first['chance'])}. Published: {first['published']}. {first['width']} features, batches "
            f"of {first['batch']}, at most {first['limit']:,} updates, {first['trial']:,} for each learning rate that "
            f"was tried ({', '.join(first['tried'])})."
        )
        blocks.append(f"{table(head, lines)}\n\n{plots.wrapped(said, 110)}")
    return "\n\n\n".join([*blocks, plots.wrapped(CAPTION, 110)])


CAPTION = (
    f"Medians of {SEEDS} seeds, with the least and the most. The learning rate is the one that did best in a short run "
    "with the first of these seeds, on data that are not those of the score. A run ends when its task is solved; one "
    "that diverged counts as chance. Linear recurrences stand in residual blocks with a dense one after each. "
    "All sizes and numbers of updates are far smaller than in the papers: what fails here might learn with more."
)


def draw(result: Result) -> Figure:
    names = unique(result["rows"], "task")
    lines = [names[i : i + 2] for i in range(0, len(names), 2)]
    counts = {name: len(unique(pick(result["rows"], task=name), "contender")) for name in names}
    heights = [0.8 + 0.24 * max(counts[name] for name in line) for line in lines]
    figure, axes = plots.panels(2, heights, width=5.6)
    for ax, name in zip(axes.flat, names, strict=False):
        panel(ax, pick(result["rows"], task=name))
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    plots.legend(figure)
    return figure


def panel(ax: Axes, rows: list[Row]) -> None:
    """A line a model: a dot for each seed, in colours by test where there are several."""
    names, shapes = unique(rows, "contender"), unique(rows, "shape")
    for j, shape in enumerate(shapes):
        at = 0.5 * ((j + 0.5) / len(shapes) - 0.5)
        colour = plots.SEQUENCE[j + 1 if shape else 0]
        for row in pick(rows, shape=shape):
            places = [names.index(row["contender"]) + at] * len(row["samples"])
            ax.plot(row["samples"], places, "o", color=colour, markersize=5, alpha=0.75, label=shape or "one seed")
    ax.axvline(rows[0]["chance"], color=plots.QUIET, linewidth=1, linestyle="--", label="chance")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    metric = rows[0]["metric"]
    if metric == "accuracy":
        ax.set_xlim(-0.03, 1.03)
    else:
        plots.logarithmic(ax)
    plots.title(ax, rows[0]["title"].split(", trained")[0])
    plots.label(ax, x=f"{metric} ({'more' if metric == 'accuracy' else 'less'} is better)")


QUESTION = Question("tasks", __doc__, measure, show, draw, timed=False, cells=CONTENDERS, extend=extend)
