"""Cells with other gates than an LSTM's or a GRU's against loops in float64 NumPy, from the published equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, sigma
from cells.equations import B, D, H, every_equation, gates, hold, numpy_wave, wave
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

KEY = jax.random.key(0)


def drive(p, x, g):
    """`W x + b` of one gate, where it has a bias."""
    z = x @ p["kernel"][:, g]
    return z + p["bias"][g] if g < len(p["bias"]) else z


def turn(p, h, g):
    """`U h` of one gate."""
    return h @ p["recurrent_kernel"][:, g]


def ugrnn(p, x, h):
    """Collins et al. 2017."""
    g, c = gates(p, x, h)
    h = sigma(g) * h + (1 - sigma(g)) * np.tanh(c)
    return (h,), h


def intersection(p, x, h, passed):
    """Collins et al. 2017, with `passed` in the place of the input."""
    y, c, g_y, g_h = (drive(p, x, g) + turn(p, h, g) for g in range(4))
    y = sigma(g_y) * passed + (1 - sigma(g_y)) * np.maximum(0, y)
    h = sigma(g_h) * h + (1 - sigma(g_h)) * np.tanh(c)
    return (h,), y


def intersection_rnn(p, x, h):
    return intersection(p, x, h, x @ p["kernel"][:, 4])


def intersection_rnn_of_its_width(p, x, h):
    return intersection(p, x, h, x)


def fast_rnn(p, x, h):
    """Kusupati et al. 2018."""
    (a,) = gates(p, x, h)
    h = sigma(p["alpha"]) * np.tanh(a) + sigma(p["beta"]) * h
    return (h,), h


def fast_grnn(p, x, h):
    """Kusupati et al. 2018."""
    a = x @ p["kernel"][:, 0] + turn(p, h, 0)
    z, n = sigma(a + p["bias"][0]), np.tanh(a + p["bias"][1])
    h = (sigma(p["zeta"]) * (1 - z) + sigma(p["nu"])) * n + z * h
    return (h,), h


def whole_kernels(p):
    """The parameters of a cell of low rank, with its kernels multiplied."""
    made = {name: p[f"{name}_down"][:, 0] @ p[f"{name}_up"][:, 0] for name in ("kernel", "recurrent_kernel")}
    return p | {name: kernel[:, None] for name, kernel in made.items()}


def fast_rnn_of_rank(p, x, h):
    """Kusupati et al. 2018: `W = W₁ W₂ᵀ`, `U = U₁ U₂ᵀ`."""
    return fast_rnn(whole_kernels(p), x, h)


def fast_grnn_of_rank(p, x, h):
    return fast_grnn(whole_kernels(p), x, h)


def li_gru(p, x, h):
    """Ravanelli et al. 2018, without the normalisation over the batch."""
    z, n = gates(p, x, h)
    h = sigma(z) * h + (1 - sigma(z)) * np.maximum(0, n)
    return (h,), h


def star(p, x, h):
    """Turkoglu et al. 2021."""
    k, z = sigma(drive(p, x, 0) + turn(p, h, 0)), np.tanh(drive(p, x, 1))
    h = np.tanh((1 - k) * h + k * z)
    return (h,), h


def light_ru(p, x, h):
    """Ye et al. 2024."""
    f = sigma(drive(p, x, 0) + turn(p, h, 0))
    h = (1 - f) * h + f * np.tanh(x @ p["kernel"][:, 1])
    return (h,), h


def sgrn(p, x, h):
    """Zu & Wei 2021."""
    z = x @ p["kernel"][:, 0]
    f = sigma(z + turn(p, h, 0) + p["recurrent_bias"])
    h = np.tanh((1 - f) * z + f * h)
    return (h,), h


def mi_ru1(p, x, h, share=0.5):
    """Zyarah & Kudithipudi 2025, with the reset gate."""
    r = sigma(drive(p, x, 0) + turn(p, h, 0))
    h = share * h + (1 - share) * np.tanh(drive(p, x, 1) + turn(p, r * h, 1))
    return (h,), h


def mi_ru1_of_another_share(p, x, h):
    return mi_ru1(p, x, h, 0.8)


def mi_ru2(p, x, h):
    """Zyarah & Kudithipudi 2025, with numbers alone."""
    h = 0.7 * h + 0.3 * np.tanh(drive(p, x, 0) + turn(p, 0.2 * h, 0))
    return (h,), h


def minimal_rnn(p, x, h):
    """Chen 2017, with one layer as Φ."""
    z = np.tanh(drive(p, x, 0))
    u = sigma(turn(p, h, 1) + turn(p, z, 0) + p["bias"][1])
    h = u * h + (1 - u) * z
    return (h,), h


def ran(p, x, c, h):
    """Lee et al. 2017."""
    i, f = (sigma(drive(p, x, g) + turn(p, h, g)) for g in (0, 1))
    c = i * (x @ p["kernel"][:, 2]) + f * c
    return (c, np.tanh(c)), np.tanh(c)


def atr(p, x, h):
    """Zhang et al. 2018."""
    P, q = drive(p, x, 0), turn(p, h, 0)
    h = sigma(P + q) * P + sigma(P - q) * h
    return (h,), h


def cfn(p, x, h):
    """Laurent & von Brecht 2017."""
    theta, eta = (sigma(drive(p, x, g) + turn(p, h, g)) for g in (0, 1))
    h = theta * np.tanh(h) + eta * np.tanh(x @ p["kernel"][:, 2])
    return (h,), h


def mutated_1(p, x, h, passed):
    """Jozefowicz et al. 2015, MUT1."""
    r, z = sigma(drive(p, x, 0) + turn(p, h, 0)), sigma(drive(p, x, 1))
    h = np.tanh(turn(p, r * h, 1) + np.tanh(passed) + p["recurrent_bias"]) * z + h * (1 - z)
    return (h,), h


def mut1(p, x, h):
    return mutated_1(p, x, h, x @ p["kernel"][:, 2])


def mut1_of_its_width(p, x, h):
    return mutated_1(p, x, h, x)


def mutated_2(p, x, h, passed):
    """Jozefowicz et al. 2015, MUT2."""
    z = sigma(drive(p, x, 0) + turn(p, h, 0))
    r = sigma(passed + turn(p, h, 2) + p["bias"][2])
    h = np.tanh(turn(p, r * h, 1) + drive(p, x, 1)) * z + h * (1 - z)
    return (h,), h


def mut2(p, x, h):
    return mutated_2(p, x, h, x @ p["kernel"][:, 2])


def mut2_of_its_width(p, x, h):
    return mutated_2(p, x, h, x)


def mut3(p, x, h):
    """Jozefowicz et al. 2015, MUT3."""
    z = sigma(drive(p, x, 0) + turn(p, np.tanh(h), 0))
    r = sigma(drive(p, x, 1) + turn(p, h, 1))
    h = np.tanh(turn(p, r * h, 2) + drive(p, x, 2)) * z + h * (1 - z)
    return (h,), h


EQUATIONS = {
    ugrnn: jaxrnn.ugrnn(H),
    intersection_rnn: jaxrnn.intersection_rnn(H),
    intersection_rnn_of_its_width: jaxrnn.intersection_rnn(D),
    fast_rnn: jaxrnn.fast_rnn(H),
    fast_grnn: jaxrnn.fast_grnn(H),
    fast_rnn_of_rank: jaxrnn.fast_rnn(H, rank=2),
    fast_grnn_of_rank: jaxrnn.fast_grnn(H, rank=2),
    li_gru: jaxrnn.li_gru(H),
    star: jaxrnn.star(H),
    light_ru: jaxrnn.light_ru(H),
    sgrn: jaxrnn.sgrn(H),
    mi_ru1: jaxrnn.mi_ru1(H),
    mi_ru1_of_another_share: jaxrnn.mi_ru1(H, update_coefficient=0.8),
    mi_ru2: jaxrnn.mi_ru2(H, update_coefficient=0.7, reset_coefficient=0.2),
    minimal_rnn: jaxrnn.minimal_rnn(H),
    ran: jaxrnn.ran(H),
    atr: jaxrnn.atr(H),
    cfn: jaxrnn.cfn(H),
    mut1: jaxrnn.mut1(H),
    mut1_of_its_width: jaxrnn.mut1(D),
    mut2: jaxrnn.mut2(H),
    mut2_of_its_width: jaxrnn.mut2(D),
    mut3: jaxrnn.mut3(H),
}


@every_equation(EQUATIONS)
def test_equals_a_loop_in_numpy(equation):
    hold(equation, EQUATIONS[equation])


def test_a_rank_is_a_size():
    for make in (jaxrnn.fast_rnn, jaxrnn.fast_grnn):
        with pytest.raises(ValueError, match=f"^{make.__name__}: rank is 0, expected an int of 1 or more, or None"):
            make(H, rank=0)


NAMES = [equation.__name__ for equation in EQUATIONS if equation.__name__ in jaxrnn.cells.CONSTRUCTORS]
# Their numbers are squashed by a sigmoid, too, which stays; or they have no gates.
APART = ("fast_rnn", "fast_grnn", "mi_ru2")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in APART])
def test_gates_take_another_activation(name, monkeypatch):
    """In one step, which all methods share."""
    monkeypatch.setitem(globals(), "sigma", numpy_wave)
    cell = jaxrnn.cells.CONSTRUCTORS[name](H, gate_activation=wave)
    params = random_params(cell, D)
    carry, x = random_like(cell.init_carry(params, (B,)), seed=1), np.random.default_rng(2).normal(size=(B, D))
    state, y = globals()[name](params, x, *carry)
    after, actual = jit(jaxrnn.step, static_argnums=0)(cell, params, carry, x)
    assert_close((tuple(after), actual), (state, y), 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_no_bias_is_a_bias_of_zero(name):
    make = jaxrnn.cells.CONSTRUCTORS[name]
    without, cell = make(H, use_bias=False), make(H)
    params = without.init(KEY, D)
    biases = {k: jnp.zeros_like(p) for k, p in cell.init(KEY, D).items() if k not in params}
    assert biases and all("bias" in k for k in biases)
    x, carry = jnp.ones((B, D)), jax.tree.map(jnp.ones_like, cell.init_carry(params, (B,)))
    steps = jit(lambda p, q: (jaxrnn.step(without, p, carry, x)[1], jaxrnn.step(cell, q, carry, x)[1]))
    np.testing.assert_allclose(*steps(params, params | biases), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "biases"),
    [
        (jaxrnn.ugrnn(H), [1, 0]),
        (jaxrnn.ugrnn(H, gate_bias=-2.0), [-2, 0]),
        (jaxrnn.intersection_rnn(H, gate_bias=3.0), [0, 0, 3, 3]),
    ],
)
def test_gates_start_at_their_bias(cell, biases):
    np.testing.assert_array_equal(cell.init(KEY, D)["bias"], np.array(biases)[:, None] * np.ones(H))


def test_fast_cells_start_near_the_old_state():
    fast, gated = jaxrnn.fast_rnn(H).init(KEY, D), jaxrnn.fast_grnn(H).init(KEY, D)
    assert (fast["alpha"], fast["beta"], gated["zeta"], gated["nu"]) == (-3, 3, 1, -4)


def test_kernels_of_low_rank_start_with_the_scale_of_whole_ones():
    """The recurrent one has as many singular values of 1 as its rank, and no other."""
    params = jaxrnn.fast_rnn(64, rank=8).init(KEY, 256)
    whole = whole_kernels({name: np.asarray(p) for name, p in params.items()})
    assert 0.7 < whole["kernel"].var() * 256 < 1.4
    np.testing.assert_allclose(np.linalg.svd(whole["recurrent_kernel"][:, 0])[1], np.arange(64) < 8, atol=1e-5)


def test_inputs_as_wide_as_the_state_need_no_kernel_of_their_own():
    for make, square in ((jaxrnn.intersection_rnn, 4), (jaxrnn.mut1, 2), (jaxrnn.mut2, 2)):
        shapes = [make(H).init(KEY, width)["kernel"].shape for width in (H, D)]
        assert shapes == [(H, square, H), (D, square + 1, H)]


def test_a_chaos_free_network_forgets_without_inputs():
    """Laurent & von Brecht 2017: every state ends at zero, whatever the weights."""
    cell = jaxrnn.cfn(H)
    params = jax.tree.map(lambda p: 3 * p, cell.init(KEY, D))
    start = cell.init_carry(params)._replace(h=jnp.full(H, 5.0))
    _, ys = jaxrnn.unroll(cell, params, jnp.zeros((2000, D)), start)
    assert jnp.abs(ys[10]).max() > 0 and jnp.abs(ys[-1]).max() < 0.1


def test_biases_of_gates_alone_start_from_the_initializer():
    ones = jax.nn.initializers.ones
    for make, name, shape in ((jaxrnn.light_ru, "bias", (1, H)), (jaxrnn.sgrn, "recurrent_bias", (H,))):
        np.testing.assert_array_equal(make(H, bias_init=ones).init(KEY, D)[name], np.ones(shape))
        assert not make(H).init(KEY, D)[name].any()


ERRORS = {
    "mi_ru1: update_coefficient is 1, expected 0 ≤ λ < 1, or the state never moves": lambda: jaxrnn.mi_ru1(
        8, update_coefficient=1
    ),
    "mi_ru2: update_coefficient is -0.5, expected 0 ≤ λ < 1, or the state never moves": lambda: jaxrnn.mi_ru2(
        8, update_coefficient=-0.5
    ),
    "mi_ru2: reset_coefficient is 1.5, expected 0 ≤ β ≤ 1": lambda: jaxrnn.mi_ru2(8, reset_coefficient=1.5),
}


@pytest.mark.parametrize("message", ERRORS)
def test_a_coefficient_beyond_its_range_is_named(message):
    with pytest.raises(ValueError) as error:
        ERRORS[message]()
    assert str(error.value) == message
