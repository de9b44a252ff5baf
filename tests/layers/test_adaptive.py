"""`act` and `skip` against loops by hand, and the costs that they add."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxrnn
from arrays import random_params, sigma
from compare import assert_close

T, B, D, H = 6, 3, 2, 4
KEY = jax.random.key(0)
LSTM = jaxrnn.lstm(H)
LENGTHS = np.array([6, 0, 3])
ACT, SKIP = jaxrnn.act(LSTM, 4), jaxrnn.skip(LSTM)

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def lstm_by_hand(params: Any, c: Any, h: Any, x: Any) -> Any:
    z = np.einsum("d,dgh->gh", x, params["kernel"]) + np.einsum("d,dgh->gh", h, params["recurrent_kernel"])
    i, f, g, o = z + params["bias"]
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return c, sigma(o) * np.tanh(c)


def act_by_hand(params: Any, xs: np.ndarray, max_ponder: int, epsilon: float) -> Any:
    """One sequence `[T, D]`: outputs, the final carry, and `N + p_N` of each step."""
    c, h, ys, ponder = np.zeros(H), np.zeros(H), [], []
    for x in xs:
        used, mean, n = 0.0, [np.zeros(H), np.zeros(H)], 0
        while True:
            c, h = lstm_by_hand(params["cell"], c, h, np.concatenate([[float(n == 0)], x]))
            n += 1
            p = sigma(h @ params["halt"]["kernel"][:, 0] + params["halt"]["bias"][0])
            last = used + p >= 1 - epsilon or n == max_ponder
            p = 1 - used if last else p
            mean = [mean[0] + p * c, mean[1] + p * h]
            used += p
            if last:
                break
        c, h = mean
        ys.append(h)
        ponder.append(n + p)
    return np.array(ys), (c, h), np.array(ponder)


@pytest.mark.parametrize(("bias", "epsilon"), [(-0.6, 0.01), (0.2, 0.4)])
def test_act_equals_the_equations(bias: float, epsilon: float) -> None:
    model = jaxrnn.act(LSTM, 4, epsilon=epsilon)
    params, xs = random_params(model, D), random(T, B, D)
    params["halt"] = {"kernel": 4 * params["halt"]["kernel"], "bias": np.array([bias])}
    carry, ys, aux = jaxrnn.unroll_with_aux(model, params, xs, lengths=LENGTHS)
    ponder = []
    for b, length in enumerate(LENGTHS):
        expected, (c, h), own = act_by_hand(params, xs[:length, b], 4, epsilon)
        assert_close((ys[:length, b], carry.c[b], carry.h[b]), (expected.reshape(-1, H), c, h))
        ponder.append(own)
    ponder = np.concatenate(ponder)
    assert len(set(np.ceil(ponder) - 1)) > 1  # not all steps take equally many runs
    assert_close(aux, {"ponder": ponder.mean()})


def test_certain_halting_is_the_plain_cell() -> None:
    params, xs = random_params(ACT, D), random(T, B, D)
    params["halt"]["bias"] = np.array([100.0])
    carry, ys, aux = jaxrnn.unroll_with_aux(ACT, params, xs)
    plain = jaxrnn.unroll(LSTM, params["cell"], np.concatenate([np.ones((T, B, 1)), xs], -1))
    assert_close((carry, ys), plain)
    assert_close(aux["ponder"], np.array(2.0))  # N = 1, and all of it counts


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_the_derivative_of_the_ponder_cost_is_its_finite_difference(name: str) -> None:
    params, xs = random_params(ACT, D), random(T, B, D)
    params["halt"]["bias"] = np.array([-1.0])

    @jax.jit
    def cost(halt: Any) -> Any:
        return jaxrnn.unroll_with_aux(ACT, params | {"halt": halt}, xs, lengths=LENGTHS)[2]["ponder"]

    found = jax.grad(cost)(params["halt"])[name]
    for index in np.ndindex(found.shape):
        moved = [dict(params["halt"]), dict(params["halt"])]
        for sign, halt in zip((1, -1), moved, strict=True):
            halt[name] = halt[name].copy()
            halt[name][index] += sign * 1e-6
        assert_close(found[index], (cost(moved[0]) - cost(moved[1])) / 2e-6, 1e-6)
    assert np.abs(found).max() > 0.01


def skip_by_hand(params: Any, xs: np.ndarray) -> Any:
    """One sequence `[T, D]`: outputs, the final carry, and u of each step."""
    c, h, update, ys, used = np.zeros(H), np.zeros(H), 1.0, [], []
    for x in xs:
        u = update >= 0.5
        if u:
            c, h = lstm_by_hand(params["cell"], c, h, x)
        delta = sigma(h @ params["update"]["kernel"][:, 0] + params["update"]["bias"][0])
        update = delta if u else update + min(delta, 1 - update)
        ys.append(h)
        used.append(float(u))
    return np.array(ys), (c, h, update), np.array(used)


def test_skip_equals_the_equations() -> None:
    params, xs = random_params(SKIP, D), random(T, B, D)
    params["update"]["bias"] = np.array([-0.6])
    carry, ys, aux = jaxrnn.unroll_with_aux(SKIP, params, xs, lengths=LENGTHS)
    updates = []
    for b, length in enumerate(LENGTHS):
        expected, (c, h, update), used = skip_by_hand(params, xs[:length, b])
        found = (ys[:length, b], carry.cell.c[b], carry.cell.h[b], 1 - carry.idle[b])
        assert_close(found, (expected.reshape(-1, H), c, h, update))
        updates.append(used)
    updates = np.concatenate(updates)
    assert 0 < updates.mean() < 1
    assert_close(aux, {"updates": updates.mean()})


def test_a_layer_that_always_updates_is_the_plain_cell() -> None:
    params, xs = random_params(SKIP, D), random(T, B, D)
    params["update"]["bias"] = np.array([100.0])
    carry, ys, aux = jaxrnn.unroll_with_aux(SKIP, params, xs)
    assert_close((carry.cell, ys), jaxrnn.unroll(LSTM, params["cell"], xs))
    assert aux["updates"] == 1


def test_the_gradient_of_skip_takes_rounding_for_the_identity() -> None:
    """Two steps of an Elman cell by hand: ũ of the second one is σ(w h₁ + b), and u = 1 has the derivative 1."""
    model = jaxrnn.skip(jaxrnn.elman(1))
    params = random_params(model, 1)
    xs = np.array([[[0.3]], [[-0.8]]])

    def loss(params: Any) -> Any:
        return jaxrnn.unroll(model, params, xs)[1][1].sum()

    w, r, bias = (params["cell"][name].item() for name in ("kernel", "recurrent_kernel", "bias"))
    first = np.tanh(0.3 * w + bias)
    for b, u in ((1.0, 1), (-3.0, 0)):
        params["update"]["bias"] = np.array([b])
        second = np.tanh(-0.8 * w + r * first + bias)
        update = sigma(params["update"]["kernel"].item() * first + b)
        assert (update >= 0.5) == u
        expected = (second - first) * update * (1 - update)
        assert_close(jax.grad(loss)(params)["update"]["bias"], np.array([expected]))


def test_a_skipped_infinity_has_a_finite_gradient() -> None:
    """The stabiliser of an `slstm` is minus infinity before its first step."""
    model = jaxrnn.skip(jaxrnn.slstm(H, heads=2))
    params, xs = random_params(model, D), random(T, B, D)
    found = jax.grad(lambda params: jaxrnn.unroll(model, params, xs, lengths=LENGTHS)[1].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.every
@pytest.mark.parametrize("make", [lambda cell: jaxrnn.act(cell, 2), jaxrnn.skip], ids=["act", "skip"])
def test_any_cell_may_adapt(make: Any) -> None:
    """Cells with times, with a flag, with a matrix, with noise."""
    for cell in (jaxrnn.cfc(H), jaxrnn.rg_lru(H), jaxrnn.gla(H, heads=2), jaxrnn.zoneout(LSTM, 0.5)):
        model = make(cell)
        params, xs = random_params(model, D), random(2, B, D)
        carry, ys, aux = jaxrnn.unroll_with_aux(model, params, xs, lengths=LENGTHS // 3, key=KEY)
        assert ys.shape == (2, B, H) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((carry, ys, aux)))


def test_costs_pass_through_layers_and_add_up() -> None:
    def model(inner: Any) -> Any:
        return jaxrnn.stack(jaxrnn.residual(inner), jaxrnn.bidirectional(inner), jaxrnn.skip(jaxrnn.gru(2)))

    inner = jaxrnn.stack(jaxrnn.act(jaxrnn.gru(D), 3), jaxrnn.dense(D))
    params, xs = random_params(model(inner), D), random(T, B, D)
    aux = jaxrnn.unroll_with_aux(model(inner), params, xs)[2]
    assert sorted(aux) == ["ponder", "updates"]
    one = jaxrnn.unroll_with_aux(jaxrnn.residual(inner), params["layer_0"], xs)
    two = jaxrnn.unroll_with_aux(jaxrnn.bidirectional(inner), params["layer_1"], one[1])
    assert_close(aux["ponder"], one[2]["ponder"] + two[2]["ponder"])


def test_costs_of_nothing_are_0() -> None:
    for model, cost in ((ACT, "ponder"), (SKIP, "updates")):
        params = random_params(model, D)
        for xs, lengths in ((random(0, B, D), None), (random(T, B, D), np.zeros(B, int))):
            assert jaxrnn.unroll_with_aux(model, params, xs, lengths=lengths)[2][cost] == 0


def test_half_precision() -> None:
    for model in (ACT, SKIP):
        params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), model.init(KEY, D))
        carry, ys, aux = jaxrnn.unroll_with_aux(model, params, jnp.asarray(random(T, B, D), jnp.bfloat16))
        assert ys.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves((carry, aux))} == {jnp.dtype("float32")}


def test_flax_modules_keep_the_costs() -> None:
    model = jaxrnn.stack(jaxrnn.act(jaxrnn.gru(H), 3), jaxrnn.dense(2))
    xs = random(B, T, D)
    module = jaxrnn.linen.RNN(model)
    variables = module.init(KEY, xs)
    assert sorted(variables) == ["params"]
    ys, kept = module.apply(variables, xs, seq_lengths=LENGTHS, mutable=["losses"])
    expected = jaxrnn.unroll_with_aux(model, variables["params"], xs.swapaxes(0, 1), lengths=LENGTHS)
    assert_close((ys, kept), (expected[1].swapaxes(0, 1), {"losses": {"ponder": (expected[2]["ponder"],)}}))
    assert_close(module.apply(variables, xs, seq_lengths=LENGTHS), ys)  # which keeps nothing

    other = jaxrnn.nnx.RNN(model, D, rngs=nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(other, nnx.Param))
    ys, kept = nnx.capture(other, nnx.Intermediate)(xs, seq_lengths=LENGTHS)
    expected = jaxrnn.unroll_with_aux(model, params, xs.swapaxes(0, 1), lengths=LENGTHS)
    assert_close((ys, nnx.to_pure_dict(kept)), (expected[1].swapaxes(0, 1), {"ponder": (expected[2]["ponder"],)}))
    assert_close(other(xs, seq_lengths=LENGTHS), ys)  # which keeps nothing


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxrnn.act(LSTM, 0), "act: max_ponder is 0, expected an int of 1 or more"),
        (lambda: jaxrnn.act(LSTM, 2, epsilon=1.0), "act: epsilon is 1.0, expected a number with 0 ≤ epsilon < 1"),
        (lambda: jaxrnn.act(ACT, 2), "act: cell is the layer"),
        (lambda: jaxrnn.skip(jaxrnn.conv_gru(2, (3,))), "skip: cell is conv_gru.*images"),
    ],
)
def test_an_error_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
