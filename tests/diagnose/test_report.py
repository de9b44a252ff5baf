"""`report`: what it measures, what it says, and that it draws."""

import inspect
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from diagnose.models import linear
from jaxrnn.diagnose import gate_timescales, gradient_profile, lyapunov_spectrum, plot, report, saturation, words
from jaxrnn.diagnose.slopes import slope

T, B, D, H = 40, 2, 3, 4

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")
XS = np.random.default_rng(1).normal(size=(T, B, D))
CELL = linear(H)
PARAMS = random_params(CELL, D)
MODEL = jaxrnn.stack(jaxrnn.lstm(H), jaxrnn.dense(2), jaxrnn.residual(jaxrnn.stack(jaxrnn.lru(2), jaxrnn.dense(2))))


def last(ys: Any) -> Any:
    return ys[-1].sum()


def of_scale(scale: float) -> Any:
    """A report of a linear cell whose recurrent kernel is `scale` times an orthogonal one."""
    kernel = scale * np.linalg.qr(np.random.default_rng(0).normal(size=(H, H)))[0]
    return report(CELL, PARAMS | {"recurrent_kernel": kernel[:, None]}, XS, last)


@pytest.mark.parametrize(
    ("scale", "verdict", "advice"),
    [
        (0.8, "vanishing", "jaxrnn.lstm"),
        (0.85, "healthy", ""),  # 0.85 ** 39 = 0.0018
        (1.0, "healthy", ""),
        (1.18, "healthy", ""),
        (1.2, "exploding", "clip_by_global_norm"),  # 1.2 ** 39 = 1224
    ],
)
def test_the_factor_over_the_sequence_decides(scale: float, verdict: str, advice: str) -> None:
    found = of_scale(scale)
    (layer,) = found.layers
    assert (layer.verdict, found.steps, found.sequences) == (verdict, T, B)
    assert layer.slope == pytest.approx(np.log(scale)) and layer.factor == pytest.approx(scale ** (T - 1))
    assert found.exponent == pytest.approx(np.log(scale), abs=1e-12)
    page = str(found)
    assert f"the recurrence: {verdict}\n" in page and f"{scale:.4g} with each step back" in page
    assert ("Try" in page) == (verdict != "healthy") and advice in page
    assert "flat profile proves no trainability" in " ".join(page.split())


@pytest.mark.every
def test_a_stack_has_a_report_for_each_recurrent_layer() -> None:
    params = random_params(MODEL, D)
    lengths = np.array([T, 7])
    found = report(MODEL, params, XS, last, lengths=lengths)
    assert [layer.name for layer in found.layers] == ["layer_0", "layer_2.layer_0"]
    first, second = found.layers
    profile = gradient_profile(MODEL, params, XS, last, lengths=lengths)
    np.testing.assert_allclose(first.profile, profile[0])
    np.testing.assert_allclose(second.profile, profile[2][0])
    timescales = gate_timescales(MODEL, params, XS, lengths=lengths)
    np.testing.assert_allclose(second.timescales["state"], timescales[2][0]["state"])
    np.testing.assert_allclose(first.saturation["o"], saturation(MODEL, params, XS, lengths=lengths)[0]["o"])
    carry, _ = jaxrnn.unroll(MODEL, params, XS[:20, :1])
    exponent = lyapunov_spectrum(MODEL, params, XS[20:, :1], 1, carry)  # the other sequence has ended by then
    assert found.exponent == pytest.approx(float(exponent[0, 0]))
    assert all(len(line) <= 100 for line in str(found).splitlines())


def test_what_is_not_finite_is_called_so() -> None:
    def far(ys: Any) -> Any:
        return ys[-1].sum() + jnp.where(ys[30, 0, 0] > np.inf, 0, jnp.sqrt(ys[30, 0, 0] - ys[30, 0, 0]))

    found = report(CELL, PARAMS, XS, far)
    assert found.layers[0].verdict == "not finite"
    assert "the gradient is not finite from step 30 on" in str(found)
    found = report(CELL, PARAMS | {"kernel": np.full((D, 1, H), np.nan)}, XS, last)
    assert "Lyapunov" in str(found) and np.isfinite(found.exponent)  # a linear map has it whatever the state
    gated = report(jaxrnn.lstm(H), jax.tree.map(lambda p: p + np.nan, random_params(jaxrnn.lstm(H), D)), XS, last)
    assert gated.layers[0].verdict == "not finite" and "the state is not finite" in str(gated)


def test_a_loss_that_reads_nothing_and_gates_that_are_flat() -> None:
    found = report(CELL, PARAMS, XS, lambda ys: 0.0 * ys.sum())
    assert found.layers[0].verdict == "unknown" and "the loss hardly depends on this state" in str(found)
    params = random_params(jaxrnn.lstm(H), D) | {"bias": np.repeat([[9.0], [-2], [9], [9]], H, 1)}
    page = " ".join(str(report(jaxrnn.lstm(H), params, XS, last)).split())
    assert "Gates are saturated in this share of steps: f" in page and "hardly learns where it is flat" in page
    assert "bias_init=jaxrnn.initializers.chrono(40)" in page


def test_a_cell_that_overwrites_its_state() -> None:
    cell = jaxrnn.elman(H)
    params = random_params(cell, D) | {"recurrent_kernel": np.zeros((H, 1, H))}
    page = str(report(cell, params, XS, last))
    assert "each step overwrites the state" in page


def test_every_name_in_the_advice_exists() -> None:
    source = inspect.getsource(words)
    names = set(re.findall(r"\bjaxrnn((?:\.[a-z]\w*)+)", source.split("if TYPE_CHECKING")[1])) - {".diagnose.report"}
    assert len(names) > 5
    for name in names:
        found: Any = jaxrnn
        for part in name[1:].split("."):
            found = getattr(found, part)


def test_the_fit_is_robust_and_leaves_out_what_is_no_gradient() -> None:
    norms = np.exp(0.1 * np.arange(50.0))[:, None] * np.ones(3)
    norms[45:] *= 100  # near the loss
    norms[:5, 1] = 0
    norms[7, 2] = np.inf
    assert slope(norms) == pytest.approx(-0.1)
    assert slope(np.exp(-0.01 * np.arange(5000.0))) == pytest.approx(0.01)
    assert np.isnan(slope(np.zeros((5, 2)))) and np.isnan(slope(np.eye(5)[:1]))


@pytest.mark.every
def test_a_figure_has_a_line_for_each_layer() -> None:
    figure = plot(report(MODEL, random_params(MODEL, D), XS, last))
    left, right = figure.axes
    assert [text.get_text().split(":")[0] for text in left.get_legend().get_texts()] == ["layer_0", "layer_2.layer_0"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "layer_0, c",
        "layer_2.layer_0, state",
        "the sequence",
    ]
    assert len({line.get_color() for line in left.lines}) == 2
    figure.draw_without_rendering()
    nothing = report(CELL, PARAMS, XS, lambda ys: jnp.nan * ys.sum())
    plot(nothing).draw_without_rendering()


def test_without_matplotlib_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^plot: matplotlib is not installed, .* pip install 'jaxrnn\[cli\]'"
    ):
        plot(of_scale(1.0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: report(CELL, PARAMS, XS[:1], last), r"report: xs has shape \(1, 2, 3\), expected .* with T of 2"),
        (lambda: report(CELL, PARAMS, XS, lambda ys: ys), "report: loss returns shape"),
        (lambda: report(jaxrnn.dense(2), random_params(jaxrnn.dense(2), D), XS, last), "report: model .* no floating"),
        (lambda: jax.jit(lambda p: report(CELL, p, XS, last).exponent)(PARAMS), "report: the values of .* are traced"),
        (lambda: plot(3), "plot: report is 3, expected a Report of jaxrnn.diagnose.report"),
    ],
)  # fmt: skip
def test_one_line(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}") as caught:
        call()
    assert "\n" not in str(caught.value)
