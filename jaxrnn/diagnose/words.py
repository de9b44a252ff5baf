"""The page of a report."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxrnn.diagnose.report import LayerReport, Report

WIDTH = 100
OFTEN = 0.5  # the share of steps above which a gate counts as saturated


def page(report: "Report") -> str:
    """Returns the report as lines of at most `WIDTH` characters."""
    plural = "s" * (report.sequences != 1)
    lines = [f"Gradients over {report.steps} steps, {report.sequences} sequence{plural}"]
    for layer in report.layers:
        lines += ["", f"{layer.name}: {layer.verdict}"]
        said = [_gradient(layer, report.steps), _timescales(layer, report.steps), _saturation(layer)]
        said += _advice(layer, report.steps)
        lines += [line for text in said for line in _wrapped(text, "  ")]
    lines += ["", *_wrapped(_exponent(report.exponent)), "", *_wrapped(_caution())]
    return "\n".join(lines)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _gradient(layer: "LayerReport", steps: int) -> str:
    norms = layer.profile.reshape(steps, -1)
    if layer.verdict == "not finite":
        last = np.flatnonzero(~np.isfinite(norms).all(-1)).max()
        return f"On the way back from the loss, the gradient is not finite from step {last} on."
    if layer.verdict == "unknown":
        return "No sequence has a gradient at two steps or more: the loss hardly depends on this state."
    text = (
        f"The gradient changes by a factor of {np.exp(layer.slope):.4g} with each step back: at this rate by "
        f"{layer.factor:.2g} over the sequence."
    )
    text += f" Measured from the last step with a gradient to the first, the factor is {_end_to_end(norms):.2g}."
    nothing = int((norms == 0).any(-1).sum())
    return text + f" At {nothing} of {steps} steps it is exactly 0, for some sequence." * (nothing > 0)


def _end_to_end(norms: np.ndarray) -> float:
    """Returns the first norm of a sequence over its last that is not 0, the median over sequences."""
    found = [row[0] / row[np.flatnonzero(row)[-1]] for row in norms.T if row.any()]
    return float(np.median(found))


def _timescales(layer: "LayerReport", steps: int) -> str:
    said = []
    for field, values in layer.timescales.items():
        known = values[~np.isnan(values)]
        if known.size:
            middle, most = np.median(known), known.max()
            said.append(f"half of {field} for less than {middle:.3g}, none of it for more than {most:.3g}")
    return f"Of {steps} steps, the gates keep {'; '.join(said)}." if said else ""


def _saturation(layer: "LayerReport") -> str:
    said = ", ".join(f"{gate} {share:.0%}" for gate, share in _shares(layer).items())
    return f"Gates are saturated in this share of steps: {said}." if said else ""


def _shares(layer: "LayerReport") -> dict[str, float]:
    """Returns the mean over units and sequences, by gate."""
    return {gate: float(np.nanmean(of)) for gate, of in layer.saturation.items() if not np.isnan(of).all()}


def _advice(layer: "LayerReport", steps: int) -> Iterator[str]:
    """Yields what to try, in sentences."""
    if layer.verdict == "not finite":
        yield "Look at the outputs and the loss first: they may be the first that are not finite."
        yield "Try a lower learning rate, and clipped gradients (optax.clip_by_global_norm)."
    if layer.verdict == "exploding":
        yield "Try clipped gradients (optax.clip_by_global_norm) and a lower learning rate."
        yield "Try a smaller recurrent kernel, or an orthogonal one (jaxrnn.initializers.orthogonal)."
        yield "Try jaxrnn.fold with truncate=True, which also cuts off long memories."
    if layer.verdict == "vanishing":
        if short := [field for field, values in layer.timescales.items() if np.nanmedian(values) < steps / 2]:
            yield (
                f"Try initial biases with which gates keep {' and '.join(short)} longer: a larger forget_bias, or "
                f"bias_init=jaxrnn.initializers.chrono({steps}), where the cell has them."
            )
        if not layer.timescales:
            yield "Try a cell that keeps its state, such as jaxrnn.lstm, jaxrnn.gru or jaxrnn.lru."
            yield "Try a recurrent kernel that keeps lengths: jaxrnn.initializers.orthogonal, or jaxrnn.irnn."
        yield "Try a shorter way for the gradient, such as jaxrnn.attending, or a loss at more steps."
    flat = [gate for gate, share in _shares(layer).items() if share > OFTEN]
    if flat and layer.verdict in ("vanishing", "exploding"):
        yield f"Try smaller inputs, kernels or learning rates: {', '.join(flat)} hardly learns where it is flat."


def _exponent(exponent: float) -> str:
    text = f"The largest Lyapunov exponent of the whole state is {exponent:.3g} a step"
    if np.isnan(exponent):
        return f"{text}: the state is not finite, or there is no valid step in the second half."
    if exponent == -np.inf:
        return f"{text}: each step overwrites the state."
    if abs(exponent) < 1e-6:
        return f"{text}: a perturbation of the state keeps its size."
    what, chaos = ("shrinks to 1/e", "") if exponent < 0 else ("grows e-fold", "; in a bounded state this is chaos")
    return f"{text}: a perturbation of the state {what} in {1 / abs(exponent):.3g} steps{chaos}."


def _caution() -> str:
    return (
        "A flat profile proves no trainability: it shows that gradients arrive, not that they lead to a solution. A "
        "loss of every output adds gradients at every step, which hides how those from far away decay."
    )
