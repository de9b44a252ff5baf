"""`lyapunov_spectrum` where exponents are known, and its gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from compare import assert_close
from diagnose.models import henon, linear
from jaxrnn.diagnose import lyapunov_spectrum

D, H = 3, 4

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_the_map_of_henon() -> None:
    """λ₁ = 0.4192 (e.g. Sprott 2003, "Chaos and time-series analysis"); the sum is that of an area, `log b`."""
    cell = henon()
    found = lyapunov_spectrum(cell, {"a": np.array(1.4), "b": np.array(0.3)}, np.zeros((20_000, 1)))
    assert found[0] == pytest.approx(0.4192, abs=0.002)
    assert_close(found.sum(), np.log(0.3))


def test_a_linear_cell_has_the_logarithms_of_its_eigenvalues() -> None:
    """What the first directions add is the same after 100 and after 200 steps, so that it drops out."""
    cell, basis = linear(H), random(H, H, seed=3)
    values = np.array([1.1, -0.9, 0.5, 0.2])
    kernel = np.linalg.inv(basis) @ np.diag(values) @ basis
    params, xs = random_params(cell, D) | {"recurrent_kernel": kernel[:, None]}, random(200, D)
    sums = [steps * lyapunov_spectrum(cell, params, xs[:steps]) for steps in (100, 200)]
    assert_close((sums[1] - sums[0]) / 100, np.log(np.abs(values)))
    assert_close(lyapunov_spectrum(cell, params, xs, 2), np.asarray(sums[1])[:2] / 200)


def test_diagonal_cells_are_exact() -> None:
    cell = jaxrnn.min_gru(H)
    params, xs = random_params(cell, D), random(7, 2, D)
    logs = np.log(np.asarray(cell.project(params, xs).a)).mean(0)
    exact = -np.sort(-logs, -1)
    assert_close(lyapunov_spectrum(cell, params, xs), exact)
    assert_close(lyapunov_spectrum(cell, params, xs, 2), exact[:, :2])


def test_a_complex_number_has_two_directions() -> None:
    cell = jaxrnn.lru(H)
    params = cell.init(jax.random.key(0), D)
    exact = -np.exp(np.sort(np.repeat(np.asarray(params["nu"], float), 2)))
    assert_close(lyapunov_spectrum(cell, params, random(5, D).astype("f")), exact, 1e-5)


def test_the_flag_of_rg_lru_is_overwritten() -> None:
    cell = jaxrnn.rg_lru(H)
    params, xs = random_params(cell, D), random(6, D)
    found = np.asarray(lyapunov_spectrum(cell, params, xs))
    assert np.isneginf(found[-1]) and np.isfinite(found[:-1]).all()
    gradient = jax.grad(lambda params: lyapunov_spectrum(cell, params, xs, 2).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_stack_has_the_exponents_of_its_layers() -> None:
    """The Jacobian of a stack is block-triangular, so that its determinants multiply."""
    model = jaxrnn.stack(jaxrnn.gru(H), jaxrnn.dense(2), jaxrnn.lstm(2))
    params, xs = random_params(model, D), random(9, D)
    below = {name: params[name] for name in ("layer_0", "layer_1")}
    _, hs = jaxrnn.unroll(jaxrnn.stack(jaxrnn.gru(H), jaxrnn.dense(2)), below, xs)
    parts = [lyapunov_spectrum(jaxrnn.gru(H), params["layer_0"], xs)]
    parts += [lyapunov_spectrum(jaxrnn.lstm(2), params["layer_2"], hs)]
    assert_close(lyapunov_spectrum(model, params, xs).sum(), jnp.concatenate(parts).sum())


@pytest.mark.every
@pytest.mark.parametrize(("cell", "count"), [(jaxrnn.gru(H), 2), (jaxrnn.lstm(2), None), (jaxrnn.min_gru(H), 1)])
def test_the_gradient_is_that_of_finite_differences(cell: jaxrnn.Cell, count: int | None) -> None:
    params, xs = random_params(cell, D), random(8, 2, D)

    @jax.jit
    def exponents(params: Any) -> Any:
        return (lyapunov_spectrum(cell, params, xs, count) @ jnp.arange(1.0, 1 + (count or 4))).sum()

    direction = random_params(cell, D, seed=5)
    moved = [jax.tree.map(lambda p, d, s=s: p + s * d, params, direction) for s in (1e-6, -1e-6)]
    along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), jax.grad(exponents)(params), direction)))
    assert abs(along) > 0.01
    assert_close(along, (exponents(moved[0]) - exponents(moved[1])) / 2e-6, 1e-7)


def test_a_carry_and_one_step() -> None:
    cell = jaxrnn.gru(H)
    params, xs, carry = random_params(cell, D), random(1, 2, D), jaxrnn.HiddenCarry(random(2, H, seed=4))
    found = lyapunov_spectrum(cell, params, xs, carry=carry)
    for b in range(2):
        jacobian = jax.jacobian(
            lambda h, b=b: cell.step(params, jaxrnn.HiddenCarry(h), cell.project(params, xs[0, b]))[0].h
        )
        assert_close(found[b].sum(), np.linalg.slogdet(jacobian(carry.h[b]))[1])


def test_masks_and_resets_mean_what_they_mean_in_unroll() -> None:
    cell = jaxrnn.min_gru(H)
    params, xs = random_params(cell, D), random(6, 2, D)
    logs = np.log(np.asarray(cell.project(params, xs).a))
    xs[4:, 1] = np.nan
    exact = -np.sort(-np.stack([logs[:, 0].mean(0), logs[:4, 1].mean(0)]), -1)
    assert_close(lyapunov_spectrum(cell, params, xs, lengths=np.array([6, 4])), exact)
    cell = jaxrnn.gru(H)
    params, xs, resets = random_params(cell, D), random(6, D), np.arange(6) == 3
    parts = [lyapunov_spectrum(cell, params, xs[:3]), lyapunov_spectrum(cell, params, xs[3:])]
    assert_close(lyapunov_spectrum(cell, params, xs, resets=resets).sum(), (parts[0].sum() + parts[1].sum()) / 2)
