"""Shows a run: a progress bar, a line for each record, a table, a plot."""

import io
import math
import sys
from pathlib import Path
from typing import Any

from jaxrnn.cli.settings import Settings

BAR = "{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left, {rate_fmt}{postfix}"
SMOOTHING = 0.95


class Bar:
    """A progress bar in characters on the terminal, with the loss; without a terminal, it prints only its lines.

    Args:
      settings: the run's.
      step: the number of its steps that are done.
    """

    def __init__(self, settings: Settings, step: int) -> None:
        from tqdm import tqdm  # `require` reports its absence before a run

        self._loss: float | None = None
        self._step = settings.per_step
        self._bar = tqdm(
            total=settings.steps * self._step,
            initial=step * self._step,
            unit=" chars",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format=BAR,
            leave=False,
            disable=None,
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, loss: float) -> None:
        """Shows one more step, with its loss in nats."""
        self._loss = loss if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        self._bar.set_postfix_str(f"loss {self._loss:.3f}, {bits(self._loss):.3f} bits/char", refresh=False)
        self._bar.update(self._step)

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()


def bits(nats: float) -> float:
    """Returns bits per character from a cross-entropy in nats."""
    return nats / math.log(2)


def heading(about: dict[str, Any], directory: Path, step: int) -> str:
    """Returns a description of the run for people."""
    settings, size = about["settings"], about["parameters"]
    rows = {
        "text": f"{about['text']}: {about['characters']:,} characters, {about['vocabulary']} different",
        "held out": f"the last {about['held_out']:,} characters",
        "model": f"{settings['cell']}, {settings['layers']} × {settings['hidden']}, {size:,} parameters",
        "training": f"{settings['steps']:,} steps of {settings['batch']} × {settings['window']} characters",
        "output": f"{directory}, resumed at step {step:,}" if step else str(directory),
    }
    return visible("\n".join(f"{name:9} {said}" for name, said in rows.items()))


def record_line(record: dict[str, Any], steps: int) -> str:
    """Returns one record of `metrics.jsonl` as a line for people."""
    return (
        f"step {record['step']:>{len(str(steps))}}/{steps}  loss {record['loss']:.3f}  {record['bits']:.3f} bits/char  "
        f"held out {record['held_out_bits']:.3f}  {record['characters_per_second']:,.0f} chars/s"
    )


def table(name: str, record: dict[str, Any], baselines: list[float]) -> str:
    """Returns a table of held-out bits per character, the n-grams' and the model's at a record."""
    held_out = record["held_out_bits"]
    rows = [(f"{n}-gram", b, "") for n, b in enumerate(baselines, 1)]
    gap = min(baselines) - held_out
    verdict = f"{gap:.3f} below the best n-gram" if gap > 0 else f"{-gap:.3f} above the best n-gram: train for longer"
    width = max(len(name), 6)
    lines = [f"  {row:{width}}  {b:.3f}  {said}".rstrip() for row, b, said in [*rows, (name, held_out, verdict)]]
    head = f"held-out bits per character, after {record['step']:,} steps in {record['seconds']:,.0f} s"
    return "\n".join([head, *lines])


def visible(text: str) -> str:
    """Replaces control characters, which would command a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def plot(name: str, records: list[dict[str, Any]], baselines: list[float]) -> bytes:
    """Draws `loss.png`: training and held-out loss over the characters read, and lines for the n-grams."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
