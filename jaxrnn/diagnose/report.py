"""`report` says in words whether the gradients of a model vanish or explode, and what to try."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn import checks
from jaxrnn.diagnose.gate_timescales import timescales_of
from jaxrnn.diagnose.gradient_profile import profile_of
from jaxrnn.diagnose.lyapunov_spectrum import spectrum_of
from jaxrnn.diagnose.parts import means
from jaxrnn.diagnose.saturation import flat_gates
from jaxrnn.diagnose.slopes import slope
from jaxrnn.diagnose.state import size_of
from jaxrnn.diagnose.walk import Walk, walk
from jaxrnn.diagnose.words import page
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Cell, Layer, Params

VANISHING = 1e-3  # the factor over all steps below which a gradient has vanished; above its inverse it has exploded


class LayerReport(NamedTuple):
    """This record holds what `report` has measured of one recurrent layer.

    Attributes:
      name: the place of the layer in the model, such as `layer_0`.
      profile: the norms of `gradient_profile`, `[T, *batch]`.
      slope: the change of the natural logarithm of the norm per step back, by a robust fit (Theil–Sen) to each
        sequence; the median of them.
      factor: `exp(slope (T − 1))`, the change over the whole sequence at this rate.
      verdict: `"vanishing"` for a factor below 1e-3, `"exploding"` above 1e3, otherwise `"healthy"`; `"not finite"` if
        a norm is not; `"unknown"` if fewer than two steps have a gradient.
      timescales: those of `gate_timescales`, by field; empty without gates.
      saturation: that of `saturation`, by gate; empty without known activations.
    """

    name: str
    profile: np.ndarray
    slope: float
    factor: float
    verdict: str
    timescales: dict[str, np.ndarray]
    saturation: dict[str, np.ndarray]


class Report(NamedTuple):
    """This record holds what `report` has measured; `print` shows a page of text, `plot` draws a figure.

    Attributes:
      layers: a `LayerReport` for each recurrent layer.
      exponent: the largest Lyapunov exponent of the whole state in the second half of the steps, the median over
        sequences.
      steps: T.
      sequences: their number.
    """

    layers: tuple[LayerReport, ...]
    exponent: float
    steps: int
    sequences: int

    def __str__(self) -> str:
        """Returns the page."""
        return page(self)


@checked
def report(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    loss: Callable[[Any], Array],
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    context: Any = None,
) -> Report:
    """Measures whether the gradients of each recurrent layer vanish, last or explode, and says what to try.

    It takes one forward and one backward pass for the gradients, one pass for the gates, and one for the largest
    Lyapunov exponent. Choose a loss of the outputs that are far from the inputs they need, such as the last one: a loss
    of every output adds new gradients at every step, which hides how the old ones decay.

    Args:
      model: a `Cell`, or a causal `Layer`.
      params: from `model.init`, or trained.
      xs: inputs `[T, *batch, D]`, T ≥ 2.
      loss: `ys -> scalar`, as for `gradient_profile`.
      carry: initial carry, leaves `[*batch, ...]`; `model.init_carry` if None.
      lengths: as for `unroll`.
      mask: as for `unroll`.
      resets: as for `unroll`.
      context: as for `unroll`.

    Returns:
      A `Report`; `str` of it is the page, `jaxrnn.diagnose.plot` draws it.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: `loss` does not return one floating number; the layer is not causal, or has no floating state.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.elman(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (100, 2, 3))
      >>> found = jaxrnn.diagnose.report(cell, params, xs, lambda ys: ys[-1].sum())
      >>> found.layers[0].verdict, str(found).splitlines()[0]
      ('vanishing', 'Gradients over 100 steps, 2 sequences')
    """
    where = "report"
    run = walk(where, model, params, xs, carry, lengths=lengths, mask=mask, resets=resets, context=context)
    if run.xs.shape[0] < 2:
        raise checks.ShapeError(f"report: xs has shape {run.xs.shape}, expected [T, *batch, D] with T of 2 or more")
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(run)):
        raise ValueError(
            "report: the values of its arguments are traced, expected a call outside of jax.jit and its kin"
        )
    size, half = size_of(where, model, run), run.xs.shape[0] // 2
    profile, starts = profile_of(where, model, run, loss)
    # From where the first half has led: by then the directions are no longer those of the start.
    xs, valid, resets = jax.tree.map(lambda leaf: leaf[half:], (run.xs, run.valid, run.resets))
    later = Walk(run.params, jax.tree.map(lambda leaf: leaf[half], starts), xs, valid, resets, context)
    exponents = np.asarray(spectrum_of(model, later, 1, size), np.float64)
    known = exponents[~np.isnan(exponents)]
    layers = _layers("", profile, timescales_of(model, run), means(model, run, flat_gates))
    return Report(tuple(layers), float(np.median(known)) if known.size else math.nan, len(run.xs), exponents.size)


def _layers(name: str, profile: Any, timescales: Any, saturation: Any) -> Iterator[LayerReport]:
    """Yields the reports of all recurrent layers, whose places are the names of a stack's parameters."""
    if isinstance(profile, tuple):
        for i, part in enumerate(profile):
            # A layer that does not tell its cells has `()` for all that is inside.
            others = (tree[i] if isinstance(tree, tuple) and tree else () for tree in (timescales, saturation))
            yield from _layers(f"{name}.layer_{i}".removeprefix("."), part, *others)
        return
    norms = np.asarray(profile, np.float64)
    rate = slope(norms)
    factor = float(np.exp(rate * (len(norms) - 1)))
    by_name = [{key: np.asarray(of) for key, of in dict(tree).items()} for tree in (timescales, saturation)]
    yield LayerReport(name or "the recurrence", norms, rate, factor, _verdict(norms, factor), *by_name)


def _verdict(norms: np.ndarray, factor: float) -> str:
    if not np.isfinite(norms).all():
        return "not finite"
    if math.isnan(factor):
        return "unknown"
    return "vanishing" if factor < VANISHING else "exploding" if factor > 1 / VANISHING else "healthy"
