"""Shows a run: a progress bar, a line for each record, a table, a plot."""

import io
import math
import sys
from pathlib import Path
from typing import Any

from jaxrnn.cli.settings import Settings
from jaxrnn.cli.text import SCORED

BAR = "{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left, {rate_fmt}{postfix}"
SMOOTHING = 0.95
FAR = 2.0  # how many times worse than chance a model is that diverges: a new one is up to 1.5 times worse
REMEDY = "begin a new run with another --out and a --learning-rate"


class Bar:
    """A progress bar in characters on the terminal, with the loss; without a terminal, it prints only its lines.

    Args:
      settings: the run's.
      step: the number of its steps that are done.
      shown: False: there is no bar and no line.
    """

    def __init__(self, settings: Settings, step: int, *, shown: bool = True) -> None:
        from tqdm import tqdm  # `require` reports its absence before a run

        self._loss: float | None = None
        self._step, self._shown = settings.per_step, shown
        self._bar = tqdm(
            total=settings.steps * self._step,
            initial=step * self._step,
            unit=" chars",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format=BAR,
            leave=False,
            disable=None if shown else True,  # None: unless standard error is a terminal
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, loss: float) -> None:
        """Shows one more step, with its loss in nats."""
        first = self._loss is None
        self._loss = loss if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        if first:  # it includes compilation, which says nothing of the time left: the clock starts after it
            self._bar.initial = self._bar.n = self._bar.last_print_n = self._bar.n + self._step
            self._bar.unpause()
            return
        self._bar.set_postfix_str(f"loss {self._loss:.3f}, {bits(self._loss):.3f} bits/char", refresh=False)
        self._bar.update(self._step)

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._shown:
            return
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()


def bits(nats: float) -> float:
    """Returns bits per character from a cross-entropy in nats."""
    return nats / math.log(2)


def heading(about: dict[str, Any], directory: Path, step: int) -> str:
    """Returns a description of the run for people."""
    settings, size = about["settings"], about["parameters"]
    held_out = f"{about['held_out']:,} characters"
    if about["held_out"] > SCORED:
        held_out += f", of which the first {SCORED:,} are scored"
    about_it = {
        "text": f"{about['text']}: {about['characters']:,} characters, {about['vocabulary']} different",
        "held out": f"{'the last' if about['valid'] is None else about['valid'] + ':'} {held_out}",
        "model": f"{settings['cell']}, {settings['layers']} × {settings['hidden']}, {size:,} parameters",
        "training": f"{settings['steps']:,} steps of {settings['batch']} × {settings['window']} characters",
        "output": f"{directory}, resumed at step {step:,}" if step else str(directory),
    }
    return rows(about_it)


def rows(values: dict[str, str]) -> str:
    """Returns names and values for people, one a line."""
    return visible("\n".join(f"{name:9} {value}" for name, value in values.items()))


def record_line(record: dict[str, Any], steps: int) -> str:
    """Returns one record of `metrics.jsonl` as a line for people."""
    return (
        f"step {record['step']:>{len(str(steps))}}/{steps}  loss {record['loss']:.3f}  {record['bits']:.3f} bits/char  "
        f"held out {record['held_out_bits']:.3f}  {record['characters_per_second']:,.0f} chars/s"
    )


def best(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the record with the best held-out figure, the first of equal ones."""
    return min(records, key=lambda record: record["held_out_bits"])


def chance(about: dict[str, Any]) -> float:
    """Returns the bits per character of a model that finds all characters of the text equally likely."""
    return math.log2(about["vocabulary"])


def diverged(about: dict[str, Any], record: dict[str, Any]) -> bool:
    """Returns whether a model does far worse than chance, also where it trains: it does not just overfit."""
    return min(record["bits"], record["held_out_bits"]) > FAR * chance(about)


def divergence(about: dict[str, Any]) -> str:
    """Returns what to do about a training that diverges."""
    return (
        f"training diverges: this is far worse than chance, {chance(about):.3f} bits/char; {REMEDY} below "
        f"{about['settings']['learning_rate']:g}"
    )


def table(about: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """Returns a table of held-out bits per character, the n-grams' and the model's at its last record."""
    last, lowest = records[-1], best(records)
    name, baselines = about["settings"]["cell"], about["n_gram_bits"]
    head = f"held-out bits per character, after {last['step']:,} steps in {last['seconds']:,.0f} s"
    lines = [head, *scores(name, last["held_out_bits"], baselines)]
    if diverged(about, last):
        lines.append(divergence(about))
    elif last["held_out_bits"] >= chance(about):
        lines.append(
            f"no better than chance, {chance(about):.3f}: --resume with more --steps trains it further, or {REMEDY} "
            f"other than {about['settings']['learning_rate']:g}"
        )
    elif last["held_out_bits"] >= min(baselines):
        lines.append("--resume with more --steps trains it further")
    if lowest is not last:
        lines.append(f"the best was {lowest['held_out_bits']:.3f} after {lowest['step']:,} steps, which is kept, too")
    return "\n".join(lines)


def scores(name: str, bits: float, baselines: list[float]) -> list[str]:
    """Returns lines of bits per character, the n-grams' and a model's, all on the same text."""
    grams = [(f"{n}-gram", b, "") for n, b in enumerate(baselines, 1)]
    gap = min(baselines, default=bits) - bits
    verdict = f"{abs(gap):.3f} {'below' if gap > 0 else 'above'} the best n-gram" if baselines else ""
    width = max(len(name), 6)
    return [f"  {row:{width}}  {b:.3f}  {said}".rstrip() for row, b, said in [*grams, (name, bits, verdict)]]


def visible(text: str) -> str:
    """Replaces control characters, which would command a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def plot(about: dict[str, Any], records: list[dict[str, Any]]) -> bytes:
    """Draws `loss.png`: training and held-out loss over the characters read, and lines for the n-grams."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    name, baselines = about["settings"]["cell"], about["n_gram_bits"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    read = [record["characters"] / 1e6 for record in records]
    axes.plot(read, [record["bits"] for record in records], "o-", ms=3, label=f"{name}, training (with dropout)")
    axes.plot(read, [record["held_out_bits"] for record in records], "o-", ms=3, label=f"{name}, held out")
    for n, b in enumerate(baselines, 1):
        axes.axhline(b, color="0.6", ls="--", lw=0.8, zorder=0)
        axes.text(1.01, b, f"{n}-gram {b:.2f}", size=8, va="center", transform=axes.get_yaxis_transform())
    axes.set(xlabel="characters read (millions)", ylabel="bits per character", title="Training and held-out loss")
    axes.grid(alpha=0.2)
    axes.legend(loc="upper right")
    image = io.BytesIO()
    FigureCanvasAgg(figure).print_png(image)
    return image.getvalue()
