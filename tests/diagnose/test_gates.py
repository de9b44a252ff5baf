"""`gate_timescales` and `saturation` against gates by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, sigma
from compare import assert_close
from jaxrnn.diagnose import gate_timescales, saturation

T, B, D, H = 5, 2, 3, 4
LENGTHS = np.array([5, 2])

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def sums(cell: Any, params: Any, xs: np.ndarray) -> np.ndarray:
    """`W xₜ + U hₜ₋₁ + b` of every step, `[T, B, G, H]`."""
    _, (_, carries) = jaxrnn.unroll(jaxrnn.with_carry(cell), params, xs)
    hs = np.concatenate([np.zeros((1, B, H)), carries.h[:-1]])
    from_state = np.einsum("tbh,hgk->tbgk", hs, params["recurrent_kernel"])
    return np.einsum("tbd,dgh->tbgh", xs, params["kernel"]) + from_state + params["bias"]


def timescale(kept: np.ndarray) -> np.ndarray:
    """Of factors `[T, B, H]`, over the steps of each length."""
    return np.stack([-1 / np.log(kept[:length, b]).mean(0) for b, length in enumerate(LENGTHS)])


def test_the_forget_gate_of_an_lstm_and_the_update_gate_of_a_gru() -> None:
    xs = random(T, B, D)
    for cell, gate, field in ((jaxrnn.lstm(H), 1, "c"), (jaxrnn.gru(H), 1, "h")):
        params = random_params(cell, D)
        expected = timescale(sigma(sums(cell, params, xs)[:, :, gate]))
        found = gate_timescales(cell, params, np.where(np.isfinite(xs), xs, 0), lengths=LENGTHS)
        assert_close(found, {field: expected})


def test_diagonal_cells_have_all_of_their_derivative() -> None:
    xs = random(T, B, D)
    cell = jaxrnn.min_gru(H)
    params = random_params(cell, D)
    assert_close(gate_timescales(cell, params, xs, lengths=LENGTHS), {"h": timescale(cell.project(params, xs).a)})
    cell = jaxrnn.lru(H)
    params = random_params(cell, D)
    assert_close(gate_timescales(cell, params, xs), {"state": np.broadcast_to(np.exp(-params["nu"]), (B, H))})
    cell = jaxrnn.indrnn(H, activation=jax.nn.identity)
    params = random_params(cell, D)
    kept = np.broadcast_to(np.abs(params["recurrent_kernel"]), (T, B, H))
    assert_close(gate_timescales(cell, params, xs)["h"], np.where(kept[0] < 1, -1 / np.log(kept[0]), np.inf))
    assert gate_timescales(jaxrnn.rg_lru(H), random_params(jaxrnn.rg_lru(H), D), xs).keys() == {"h"}
    assert gate_timescales(jaxrnn.qrnn(H), random_params(jaxrnn.qrnn(H), D), xs).keys() == {"c"}


@pytest.mark.sampled
@pytest.mark.parametrize(
    "change",
    [jaxrnn.weight_norm, jaxrnn.learned_carry, jaxrnn.with_carry, lambda cell: jaxrnn.recurrent_dropout(cell, 0.5)],
)
def test_cells_made_of_cells_keep_their_gates(change: Any) -> None:
    cell, xs = jaxrnn.lstm(H), random(T, B, D)
    made = change(cell)
    params = made.init(jax.random.key(0), D)
    inner = {name: p for name, p in params.items() if not name.startswith("initial")}
    if "recurrent_kernel_scale" in params or set(inner) != {"kernel", "recurrent_kernel", "bias"}:
        inner = None
    found = gate_timescales(made, params, xs)
    assert found.keys() == {"c"}
    if inner is not None:
        assert_close(found, gate_timescales(cell, inner, xs))
    assert saturation(made, params, xs).keys() == {"i", "f", "g", "o"}


def test_zoneout_keeps_more() -> None:
    cell, xs = jaxrnn.zoneout(jaxrnn.lstm(H), {"c": 0.5}), random(T, B, D)
    params = jax.tree.map(np.zeros_like, random_params(cell, D))
    assert_close(gate_timescales(cell, params, xs), {"c": np.full((B, H), -1 / np.log(0.5 + 0.5 * 0.5))})


def test_heads_have_gates_of_their_own() -> None:
    cell, xs = jaxrnn.heads(jaxrnn.lstm(H), 2), random(T, B, D)
    params = random_params(cell, D)
    whole = np.zeros((H, 4, H))
    whole[:2, :, :2], whole[2:, :, 2:] = params["recurrent_kernel"]
    dense = gate_timescales(jaxrnn.lstm(H), params | {"recurrent_kernel": whole}, xs)
    assert_close(gate_timescales(cell, params, xs), dense)


def test_open_and_closed_gates() -> None:
    cell = jaxrnn.lstm(2)
    params = jax.tree.map(np.zeros_like, random_params(cell, D))
    params["bias"][1] = [np.inf, -np.inf]
    assert gate_timescales(cell, params, random(T, D))["c"].tolist() == [np.inf, 0]
    none = gate_timescales(cell, params, random(T, B, D), lengths=np.array([5, 0]))["c"]
    assert np.isnan(none).tolist() == [[False, False], [True, True]]


def test_layers_have_the_shape_of_their_stack() -> None:
    model = jaxrnn.stack(
        jaxrnn.dense(D),
        jaxrnn.residual(jaxrnn.stack(jaxrnn.lstm(H), jaxrnn.dense(D))),
        jnp.tanh,
        jaxrnn.gla(4, heads=2),
        jaxrnn.gru(2),
    )
    params, xs = random_params(model, D), random(T, B, D)
    found = gate_timescales(model, params, xs)
    assert [type(part) for part in found] == [tuple, tuple, tuple, tuple, dict]
    assert found[0] == found[2] == found[3] == found[1][1] == ()
    _, hs = jaxrnn.unroll(jaxrnn.dense(D), params["layer_0"], xs)
    assert_close(found[1][0], gate_timescales(jaxrnn.lstm(H), params["layer_1"]["layer_0"], hs))
    assert saturation(model, params, xs)[4].keys() == {"r", "z"}


@pytest.mark.parametrize(
    ("cell", "limits"),
    [
        (jaxrnn.lstm(2), {"i": 4.36, "f": 4.36, "g": 2.18, "o": 4.36}),
        (jaxrnn.gru(2), {"r": 4.36, "z": 4.36}),
        (jaxrnn.mgu(2), {"f": 4.36}),
        (jaxrnn.elman(2), {"h": 2.18}),
        (jaxrnn.elman(2, activation=jax.nn.relu), {"h": 0.0}),
        (jaxrnn.indrnn(2, activation=jnp.tanh), {"h": 2.18}),
        (jaxrnn.coupled_lstm(2), {"f": 4.36, "g": 2.18, "o": 4.36}),
        (jaxrnn.janet(2), {"f": 4.36, "g": 2.18}),
        (jaxrnn.projected_lstm(2, 2), {"i": 4.36, "f": 4.36, "g": 2.18, "o": 4.36}),
    ],
    ids=lambda value: repr(value) if isinstance(value, jaxrnn.Cell) else "",
)
def test_a_gate_is_saturated_beyond_its_limit(cell: Any, limits: dict[str, float]) -> None:
    """Biases just inside and outside, the other parameters 0: the first unit is never flat, the second always."""
    params = jax.tree.map(np.zeros_like, random_params(cell, D))
    for gate, (_, limit) in enumerate(limits.items()):
        sign = -1 if limit == 0 else 1
        params["bias"][gate] = [sign * (limit - 0.01), sign * (limit + 0.01)]
    found = saturation(cell, params, np.zeros((3, D)))
    assert_close(found, dict.fromkeys(limits, np.array([0.0, 1.0])))


def test_saturation_counts_valid_steps() -> None:
    cell, xs = jaxrnn.lstm(H), 4 * random(T, B, D)
    params = random_params(cell, D)
    flat = np.abs(sums(cell, params, xs)) > np.array([4.35681, 4.35681, 2.17841, 4.35681])[:, None]
    shares = np.stack([flat[:length, b].mean(0) for b, length in enumerate(LENGTHS)])
    assert 0.05 < shares.mean() < 0.95
    xs[2:, 1] = np.nan
    assert_close(
        saturation(cell, params, xs, lengths=LENGTHS), dict(zip("ifgo", np.moveaxis(shares, 1, 0), strict=True))
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            gate_timescales,
            "gate_timescales: model is elman(4), none of whose cells has gates that keep a share of its st",
        ),
        (
            saturation,
            "saturation: model is gla(4), none of whose cells has gates whose activations are known, expected",
        ),
    ],
)
def test_models_without_gates_get_one_line(call: Any, said: str) -> None:
    cell = jaxrnn.elman(4) if call is gate_timescales else jaxrnn.gla(4, heads=4)
    with pytest.raises(ValueError) as caught:
        call(cell, random_params(cell, 4), random(T, B, 4))
    assert str(caught.value).replace("gla(4, heads=4)", "gla(4)").startswith(said) and "\n" not in str(caught.value)


def test_activations_name_gates_that_are_not_paired() -> None:
    def pointwise(params: Any, carry: Any, gates: Any) -> Any:
        return carry, carry.h

    with pytest.raises(ValueError, match=r"activations names \['b'\], expected names from gates=\('a',\)"):
        jaxrnn.pointwise_cell(
            pointwise, 2, jaxrnn.HiddenCarry, gates=("a", "b"), paired=("b",), activations={"b": jnp.tanh}
        )
