"""Defines the run of a character model, with its progress and its checkpoints."""

import json
import math
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from optax.tree_utils import tree_get_all_with_path

from jaxrnn.cli import checkpoint, devices, failure, folder, model, processes, report, text
from jaxrnn.cli.background import Act, background
from jaxrnn.cli.ngram import witten_bell
from jaxrnn.cli.problem import Common, Problem
from jaxrnn.cli.saved import Saved
from jaxrnn.cli.settings import Settings, agreed
from jaxrnn.diagnose.nonfinite import all_finite
from jaxrnn.train import State, interruptible, start, train, updater
from jaxrnn.types import Array, Carry, Params

RECORDS = 20  # in a run
SPACING = 1000  # steps between records at most


class Run:
    """A run, which `begin` or `resumed` prepares for training. Its directory is there, and locked.

    Args:
      directory: for its outputs.
      settings: all of them.
      corpus: its text.
      source: path of the text, None for the default.
      valid: path of the held-out text, None for the end of the text.
      mesh: the devices that train.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        corpus: text.Corpus,
        source: str | None,
        valid: str | None,
        mesh: Mesh,
    ) -> None:
        self.directory, self.settings, self.corpus, self.mesh = directory, settings, corpus, mesh
        # The paths are absolute, because a run may be resumed from another directory.
        self.source, self.valid = (None if path is None else os.path.abspath(path) for path in (source, valid))
        if corpus.split <= settings.per_step:
            raise Problem(
                f"--text {corpus.name}: leaves {corpus.split:,} characters to train on, expected more than "
                f"{settings.per_step:,}, --batch times --window; give a longer text, or lower one of the two"
            )
        devices.divided(settings.batch, mesh.size)
        self.layer = model.from_settings(settings, corpus.size)
        self.optimizer = model.optimizer(settings.learning_rate, settings.steps, settings.schedule)
        self.init_key, self.train_key, self.sample_key = jax.random.split(jax.random.key(settings.seed), 3)
        self.state: State  # once it has begun
        self.step, self.saved, self.seconds = 0, 0, 0.0  # `saved` is the step of the checkpoint
        self.losses: list[float] = []  # in nats, of the steps since the last record
        self.history: list[dict[str, Any]] = []  # the lines of metrics.jsonl: a description, then records

    def begin(self) -> None:
        """Saves the first checkpoint, which also shows that there is space for one."""
        if taken := folder.taken(self.directory):
            raise Problem(
                f"--out {self.directory}: holds {', '.join(taken)} of an earlier run; "
                "go on with that one with --resume, or choose another --out"
            )
        params, carry = jax.jit(self._model)(self.init_key)
        self.state = start(params, carry, self.optimizer)
        scored = self.corpus.scored
        bits = witten_bell(scored.ids, scored.split, scored.size)
        self.history = [self._about() | {"n_gram_bits": bits, "versions": versions()}]
        folder.save(self.directory, self._values())

    @classmethod
    def resumed(
        cls,
        directory: Path,
        saved: Saved,
        given: dict[str, Any],
        source: str | None,
        valid: str | None,
        mesh: Mesh,
    ) -> "Run":
        """Returns the run in a directory, from its checkpoint.

        Args:
          directory: the run's.
          saved: its checkpoint.
          given: settings that it must have, or more steps than it had.
          source: path of its text, None for its original path.
          valid: path of its held-out text, likewise.
          mesh: the devices that train, which may be others than before.
        """
        path = checkpoint.within(directory)
        corpus = saved.corpus(path, source, valid)
        run = cls(directory, agreed(saved.settings, given), corpus, source or saved.source, valid or saved.valid, mesh)
        like = jax.eval_shape(lambda key: start(*run._model(key), run.optimizer), run.init_key)
        run.state = checkpoint.restore(path, like, saved.state)
        if not checkpoint.finite(run.state._replace(carry=())):  # a carry may begin at −inf
            raise Problem(f"{path}: {checkpoint.NOT_FINITE}")
        if made := {int(count) for _, count in tree_get_all_with_path(run.state.optimizer, "count")} - {saved.step}:
            raise Problem(
                f"{path}: its optimizer has made {made.pop()} updates, expected {saved.step}; {checkpoint.REMEDY}"
            )
        run.step = run.saved = saved.step
        run.seconds, run.losses, run.history = saved.seconds, saved.losses, saved.metrics
        run.history[0]["settings"] = run.settings._asdict()  # it may have more steps now
        for name, value in run._about().items():
            if name not in ("text", "valid") and run.history[0][name] != value:  # the path of a text may change
                raise Problem(f"{path}: {name} in the first line of its metrics is not {value}; {checkpoint.REMEDY}")
        return run

    def _model(self, key: Array) -> tuple[Params, Carry]:
        params = self.layer.init(key, None)
        return params, self.layer.init_carry(params, (self.settings.batch,))

    def _about(self) -> dict[str, Any]:
        """Returns a description of the run, from its text, settings and parameters."""
        corpus = self.corpus
        return {
            "text": corpus.name,
            "sha256": corpus.sha256,
            "valid": corpus.valid,
            "valid_sha256": corpus.valid_sha256,
            "characters": corpus.length,
            "vocabulary": corpus.size,
            "held_out": len(corpus.held_out) - 1,
            "settings": self.settings._asdict(),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self.state.params)),
        }

    def packed(self) -> bytes:
        """Returns the checkpoint of the run as it is now."""
        return checkpoint.packed(**self._values())

    def _values(self) -> dict[str, Any]:
        """Returns the values of the checkpoint, which later steps leave as they are; all processes have to call it.

        The state is in the memory of the host. On a CPU that is the memory of the device, and as long as somebody has
        it, JAX does not overwrite it, although the step donates the optimizer's state.
        """
        return {
            "state": devices.whole(self.state),
            "settings": self.settings._asdict(),
            "source": self.source,
            "sha256": self.corpus.sha256,
            "valid": self.valid,
            "valid_sha256": self.corpus.valid_sha256,
            "vocabulary": self.corpus.vocabulary,
            "step": self.step,
            "seconds": self.seconds,
            "losses": [*self.losses],
            "metrics": self._metrics,
        }

    @property
    def _metrics(self) -> str:
        return "".join(json.dumps(line) + "\n" for line in self.history)

    def save(self, do: Callable[[Act], None], keep: int) -> None:
        """Has `do` write the run as it is now, with `keep - 1` checkpoints before; process 0 does so for all."""
        values, before = self._values(), self.saved
        self.saved = self.step
        if processes.first():
            best = bool(self.records) and report.best(self.records)["step"] == self.step
            do(partial(folder.save, self.directory, values, best=best, before=before, keep=keep))

    @property
    def finished(self) -> bool:
        return self.step == self.settings.steps

    @property
    def records(self) -> list[dict[str, Any]]:
        return self.history[1:]

    def train(self, keep: int = 1) -> None:
        """Trains to the end, or until Ctrl-C in any process; saves at each record and when it stops.

        Another thread writes the checkpoints, of which the newest `keep` are kept.
        """
        with background() as do:
            save = partial(self.save, do, keep)
            self._steps(save)
            save()

    def _steps(self, save: Callable[[], None]) -> None:
        """Trains to the end, or until Ctrl-C in any process, with a record and a call of `save` now and then."""
        settings, clock = self.settings, time.perf_counter
        every = min(max(settings.steps // RECORDS, 1), SPACING)
        layout = devices.layout(self.mesh)
        update = updater(model.objective(self.layer), self.optimizer, self.train_key, layout)
        self.state = devices.placed(self.state, layout)
        examine, finite = model.evaluator(self.layer), jax.jit(all_finite)
        window = text.windows(self.corpus.training, settings.batch, settings.window)

        def split(step: int) -> Array:
            return devices.split(window(step), self.mesh)

        first, begun = self.step, clock() - self.seconds
        since, before, diverged = clock(), first, False
        with interruptible() as stopped, report.Bar(settings, first, shown=processes.first()) as bar:
            for step, state, loss in train(update, self.state, split, range(first, settings.steps)):
                previous, self.state, self.step = self.state, state, step
                if not finite((loss, state.params)):
                    key = jax.random.fold_in(self.train_key, step - 1)
                    # The optimizer's state before the step is gone: the step was given it to overwrite.
                    old, new = (devices.whole(which._replace(optimizer=())) for which in (previous, state))
                    cause = failure.of_step(self.layer, old, new, window(step - 1), key)
                    raise self._failed(f"step {step:,} of training failed: {cause}")
                self.losses.append(float(loss))
                bar.advance(self.losses[-1])
                due = step % every == 0 or self.finished
                if due:
                    speed = (step - before) * settings.per_step / (clock() - since)
                    self._record(examine, speed, clock() - begun)
                    save()
                    bar.line(report.record_line(self.history[-1], settings.steps))
                    if not diverged and (diverged := report.diverged(self.history[0], self.history[-1])):
                        bar.line(report.divergence(self.history[0]))
                if due or step == first + 1:  # the first step includes compilation, which does not count
                    since, before = clock(), step
                if processes.anywhere(stopped()):
                    break
        self.seconds = clock() - begun

    def _record(self, examine: Callable[[Params, np.ndarray], float], speed: float, seconds: float) -> None:
        """Adds a line to the history."""
        ids = self.corpus.scored.held_out
        loss = float(np.mean(self.losses))
        params = devices.local(self.state.params)
        held_out = examine(params, ids)
        if not math.isfinite(held_out):
            cause = failure.of_text(self.layer, params, ids)
            raise self._failed(f"the held-out loss is {held_out} after step {self.step:,} of training: {cause}")
        self.losses, self.seconds = [], seconds
        self.history.append(
            {
                "step": self.step,
                "characters": self.step * self.settings.per_step,
                "loss": loss,
                "bits": report.bits(loss),
                "held_out_bits": held_out,
                "held_out_characters": len(ids) - 1,
                "characters_per_second": round(speed),
                "seconds": round(seconds, 1),
            }
        )

    def _failed(self, said: str) -> Common:
        return Common(
            f"{said}; {report.REMEDY} below {self.settings.learning_rate:g}; the checkpoint of step {self.saved:,} is "
            "kept, and sample and eval read it"
        )

    def plot(self) -> None:
        """Draws the history."""
        checkpoint.write(self.directory / folder.PLOT, report.plot(self.history[0], self.records))


def versions() -> dict[str, str]:
    """Returns the versions of what a run depends on."""
    try:
        own = version("jaxrnn")
    except PackageNotFoundError:  # the package is imported from its source
        own = "not installed"
    return {"python": platform.python_version(), "jax": jax.__version__, "jaxrnn": own}
