"""`python -m jaxrnn eval` scores a text with a trained model, and with n-gram models beside it."""

from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrnn.cli import checkpoint, model, report, text
from jaxrnn.cli.load import restored
from jaxrnn.cli.ngram import witten_bell
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.saved import Saved, read
from jaxrnn.cli.vocabulary import known

LISTED = 10  # kinds of unknown characters that are named


class Task(NamedTuple):
    """A text to score, and the text whose n-gram models are scored beside it.

    Attributes:
      name: the text's, for people.
      corpus: the text that the model has learned from; None: it is not there, for the `reason`.
      ids: the text that is scored, after the one that the model has learned from, if that is there.
      begin: the first index that is scored; the one before it is context.
      unknown: characters that are left out, and how many of each.
      reason: see `corpus`.
    """

    name: str
    corpus: text.Corpus | None
    ids: np.ndarray
    begin: int
    unknown: Counter[str] = Counter()  # noqa: RUF012, nobody writes into it
    reason: str = ""


def evaluate(args: Namespace) -> None:
    """Prints bits per character of a text.

    Args:
      args: `out`, the directory of the run; `best`, whether to take its best checkpoint; `text`, a path, None for the
        run's own held-out text.

    Raises:
      Problem: something that the user can put right.
    """
    path = checkpoint.within(args.out, best=args.best)
    saved = read(path)
    layer, params, _ = restored(path, saved)
    task = held_out(path, saved) if args.text is None else another(path, saved, args.text)
    rows = {"text": task.name, "model": f"{saved.settings.cell}, after {saved.step:,} steps"}
    if task.unknown:
        kinds = ", ".join(f"{c!r} {count:,}" for c, count in task.unknown.most_common(LISTED))
        more = ", …" if len(task.unknown) > LISTED else ""
        rows["left out"] = f"{task.unknown.total():,} characters that the model does not know: {kinds}{more}"
    if task.corpus is None:
        rows["n-grams"] = f"none: {task.reason}"
    print(report.rows(rows), f"\nbits per character of {len(task.ids) - task.begin:,} characters", sep="\n", flush=True)
    baselines = []
    if task.corpus is not None:
        baselines = witten_bell(task.ids, task.corpus.split, task.corpus.size, begin=task.begin)
    bits = model.evaluator(layer)(params, task.ids[task.begin - 1 :])
    print(*report.scores(saved.settings.cell, bits, baselines), sep="\n")


def held_out(path: Path, saved: Saved, source: str | None = None) -> Task:
    """Returns the run's own held-out text, all of it."""
    corpus = saved.corpus(path, source)
    name = corpus.valid or f"the last {len(corpus.ids) - corpus.split:,} characters of {corpus.name}"
    return Task(name, corpus, corpus.ids, corpus.split)


def another(path: Path, saved: Saved, source: str) -> Task:
    """Returns a text that the user has named, without characters that the model does not know."""
    given = text.file("--text", source)
    if given.sha256 == saved.sha256:
        if saved.valid is not None:
            raise Problem(f"--text {source}: is what the model has learned from; name another text to score")
        return held_out(path, saved, source)
    ids, unknown = known(saved.vocabulary, given.characters)
    if len(ids) < 2:
        raise Problem(f"--text {source}: has {len(ids)} characters that the model knows, expected 2; give another text")
    try:
        corpus = saved.corpus(path, remedy="they would be counted there")
    except Problem as problem:
        return Task(source, None, ids, 1, unknown, str(problem))
    return Task(source, corpus, np.concatenate([corpus.training, ids]), corpus.split + 1, unknown)
