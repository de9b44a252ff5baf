"""`plot` draws a report."""

from typing import Any

import numpy as np

from jaxrnn import checks
from jaxrnn.diagnose.report import Report
from jaxrnn.options import checked


@checked
def plot(report: Report) -> Any:
    """Draws the gradient profile of each recurrent layer and, where there are gates, the timescales of its state.

    A line is the geometric mean over sequences, the band around it goes from the smallest to the largest. It needs
    Matplotlib, which the extra `cli` installs.

    Args:
      report: from `jaxrnn.diagnose.report`.

    Returns:
      A Matplotlib `Figure`; `figure.savefig("report.png")` stores it, and a notebook shows it.

    Raises:
      ValueError: `report` is not a `Report`.
      ModuleNotFoundError: Matplotlib is not installed.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (100, 2, 3))
      >>> figure = jaxrnn.diagnose.plot(jaxrnn.diagnose.report(cell, params, xs, lambda ys: ys[-1].sum()))
      >>> len(figure.axes)
      2
    """
    if not isinstance(report, Report):
        raise ValueError(f"plot: report is {checks.spelled(report)}, expected a Report of jaxrnn.diagnose.report")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError(
            "plot: matplotlib is not installed, expected for figures; pip install 'jaxrnn[cli]' has it"
        ) from None
    gated = any(layer.timescales for layer in report.layers)
    figure = Figure(figsize=(11 if gated else 6, 4), layout="constrained")
    left, *right = figure.subplots(1, 1 + gated, squeeze=False)[0]
    _profiles(left, report)
    if gated:
        _timescales(right[0], report)
    return figure


def _profiles(axes: Any, report: Report) -> None:
    for i, layer in enumerate(report.layers):
        norms = layer.profile.reshape(report.steps, -1)
        logs = np.log(np.where(np.isfinite(norms) & (norms > 0), norms, np.nan))
        steps = np.flatnonzero(~np.isnan(logs).all(1))
        label = f"{layer.name}: {layer.verdict}"
        if not len(steps):
            axes.plot([], [], color=f"C{i}", label=label)
            continue
        middle, low, high = (np.exp(f(logs[steps], 1)) for f in (np.nanmean, np.nanmin, np.nanmax))
        axes.plot(steps, middle, color=f"C{i}", label=label)
        axes.fill_between(steps, low, high, color=f"C{i}", alpha=0.2, linewidth=0)
    axes.set(yscale="log", xlabel="step", ylabel="norm of the gradient in the carry", title="Gradients")
    axes.legend()


def _timescales(axes: Any, report: Report) -> None:
    for i, layer in enumerate(report.layers):
        for field, values in layer.timescales.items():
            known = np.sort(values[np.isfinite(values) & (values > 0)])[::-1]
            share = np.arange(1, 1 + len(known)) / max(1, values.size)
            axes.plot(share, known, ".", markersize=4, color=f"C{i}", label=f"{layer.name}, {field}")
    axes.axhline(report.steps, color="0.5", linewidth=1, label="the sequence")
    axes.set(yscale="log", xlabel="share of the state", ylabel="steps", title="Timescales, longest first")
    axes.legend()
