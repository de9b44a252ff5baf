"""Cells with a linear recurrence against loops in float64 NumPy, and what they can compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, shapes_of, sigma

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, N = 7, 2, 3, 4, 5


def gates(p, x):
    return [x @ p["kernel"][:, g] + p["bias"][g] for g in range(p["kernel"].shape[1])]


# Each takes parameters, one input and the state, and gives the state and the output.


def min_gru(p, x, h):
    """`hₜ = (1 − z) hₜ₋₁ + z h̃`."""
    z, new = gates(p, x)
    h = (1 - sigma(z)) * h + sigma(z) * new
    return h, h


def min_gru_signed(p, x, h):
    """`hₜ = (1 − 2z) hₜ₋₁ + z h̃`."""
    z, new = gates(p, x)
    h = (1 - 2 * sigma(z)) * h + sigma(z) * np.tanh(new)
    return h, h


def min_lstm(p, x, h):
    """`f′ = f / (f + i)`, `i′ = i / (f + i)`, `hₜ = f′ hₜ₋₁ + i′ h̃`."""
    f, i, new = gates(p, x)
    f, i = sigma(f), sigma(i)
    h = f / (f + i) * h + i / (f + i) * new
    return h, h


def lru(p, x, h):
    """`λ = exp(−exp(ν) + i exp(θ))`, `hₜ = λ hₜ₋₁ + exp(γ) B xₜ`, `yₜ = Re(C hₜ) + D xₜ`."""
    B, C = p["kernel"][:, 0] + 1j * p["kernel"][:, 1], p["readout"][:, 0] + 1j * p["readout"][:, 1]
    h = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"])) * h + np.exp(p["gamma"]) * (x @ B)
    return h, (h @ C).real + x @ p["skip"]


def lru_signed(p, x, h):
    h = np.tanh(p["nu"]) * h + np.exp(p["gamma"]) * (x @ p["kernel"][:, 0])
    return h, h @ p["readout"][:, 0] + x @ p["skip"]


def lru_positive(p, x, h):
    h = np.exp(-np.exp(p["nu"])) * h + np.exp(p["gamma"]) * (x @ p["kernel"][:, 0])
    return h, h @ p["readout"][:, 0] + x @ p["skip"]


def rg_lru(p, x, h, begun):
    """`log a = −8 r softplus(Λ)`, `hₜ = a hₜ₋₁ + √(1 − a²) i v`; the first step adds `i v` whole."""
    r, i, v = gates(p, x)
    a = np.exp(-8 * sigma(r) * np.log1p(np.exp(p["decay"])))
    scale = begun[:, None] * np.sqrt(1 - a**2) + 1 - begun[:, None]
    h = a * h + scale * sigma(i) * v
    return h, h


def rg_lru_signed(p, x, h, begun):
    """Every other feature has `−a`."""
    flip = (-1) ** np.arange(H)
    r, i, v = gates(p, x)
    a = np.exp(-8 * sigma(r) * np.log1p(np.exp(p["decay"])))
    scale = begun[:, None] * np.sqrt(1 - a**2) + 1 - begun[:, None]
    h = flip * a * h + scale * sigma(i) * v
    return h, h


def s5(p, x, h):
    """`Λ̄ = exp(Λ Δ)`, `hₜ = Λ̄ hₜ₋₁ + (Λ̄ − 1) / Λ B xₜ`, `yₜ = 2 Re(C hₜ) + D xₜ`."""
    rates = np.minimum(p["lambda_real"], -1e-4) + 1j * p["lambda_imag"]
    held = np.exp(rates * np.exp(p["log_dt"]))
    B, C = p["kernel"][:, 0] + 1j * p["kernel"][:, 1], p["readout"][:, 0] + 1j * p["readout"][:, 1]
    h = held * h + (held - 1) / rates * (x @ B)
    return h, 2 * (h @ C).real + x @ p["skip"]


def s4d(p, x, h):
    """`hₜ = exp(Δ A) hₜ₋₁ + (exp(Δ A) − 1) / A uₜ` for every state of every feature, `y = 2 Re(C h) + d u`."""
    u = x @ p["kernel"][:, 0]
    h, states = h.reshape(B, H, 3).copy(), p["log_rate"].shape[1]
    y = p["skip"] * u
    for i in range(H):
        for n in range(states):
            A = -np.exp(p["log_rate"][i, n]) + 1j * p["lambda_imag"][i, n]
            held = np.exp(A * np.exp(p["log_dt"][i]))
            h[:, i, n] = held * h[:, i, n] + (held - 1) / A * u[:, i]
            y[:, i] += 2 * ((p["modes"][0, i, n] + 1j * p["modes"][1, i, n]) * h[:, i, n]).real
    return h.reshape(B, -1), y


def oscillators(p):
    """`A` and `Δ`."""
    return np.maximum(p["stiffness"], 1e-6), sigma(p["dt_logit"])


def linoss(p, x, h):
    """`z = z + Δ (−A p + B u)`, `p = p + Δ z` with the new `p` in both, solved for it; the state is `z + i√A p`."""
    A, dt = oscillators(p)
    z, place = h.real, h.imag / np.sqrt(A)
    force = x @ p["kernel"][:, 0]
    place = (place + dt * z + dt**2 * force) / (1 + dt**2 * A)
    z = z + dt * (force - A * place)
    return z + 1j * np.sqrt(A) * place, place @ p["readout"] + x @ p["skip"]


def linoss_explicit(p, x, h):
    """`z = z + Δ (−A p + B u)` with the old position, `p = p + Δ z`; the state is `z + (λ − 1) / Δ p`."""
    A, dt = oscillators(p)
    b = (np.exp(2j * np.arcsin(dt * np.sqrt(A) / 2)) - 1) / dt
    place = h.imag / b.imag
    z = h.real - b.real * place
    z = z + dt * (x @ p["kernel"][:, 0] - A * place)
    place = place + dt * z
    return z + b * place, place @ p["readout"] + x @ p["skip"]


def ffm(p, x, h):
    """`S = exp(−|α| + iω) S + x̃` for every trace and context, `y = LN(W [Re S; Im S] + b) g + skip (1 − g)`."""
    value, gate = gates(p, x)
    y_gate, skip = (x @ p["output_kernel"][:, i] + p["output_bias"][i] for i in (0, 1))
    h, z = h.reshape(B, 3, 2).copy(), np.tile(p["readout_bias"], (B, 1))
    readout = p["readout"].reshape(3, 2, 2, H)
    for m in range(3):
        for c in range(2):
            h[:, m, c] = np.exp(-abs(p["alpha"][m]) + 1j * p["omega"][c]) * h[:, m, c] + value[:, m] * sigma(gate[:, m])
            z += np.outer(h[:, m, c].real, readout[m, c, 0]) + np.outer(h[:, m, c].imag, readout[m, c, 1])
    normed = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    return h.reshape(B, -1), normed * sigma(y_gate) + skip * (1 - sigma(y_gate))


def rot_rnn(p, x, h):
    """`s = γ P Θ Pᵀ s + √((1 − γ²) / tr(BᵀB)) B u` in each head with any orthogonal `P`, `y = C s + D u`."""
    y, new = x @ p["skip"], []
    for n in range(2):
        planes = slice(3 * n, 3 * n + 3)
        P = np.linalg.qr(np.random.default_rng(n).normal(size=(6, 6)))[0]
        B_head = P @ p["kernel"][:, :, planes].transpose(2, 1, 0).reshape(6, D)
        C_head = p["readout"][planes].reshape(6, H).T @ P.T
        turn = np.zeros((6, 6))
        for i, theta in enumerate(p["theta"][planes]):
            c, s = np.cos(theta), np.sin(theta)
            turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, -s], [s, c]]
        gamma = np.exp(-np.exp(p["nu"][n]))
        xi = np.sqrt((1 - gamma**2) / np.trace(B_head.T @ B_head))
        s = np.stack([h[:, planes].real, h[:, planes].imag], -1).reshape(B, 6) @ P.T
        s = gamma * s @ (P @ turn @ P.T).T + xi * x @ B_head.T
        y = y + s @ C_head.T
        new.append((s @ P).reshape(B, 3, 2) @ [1, 1j])
    return np.concatenate(new, 1), y


CELLS = {
    min_gru: jaxrnn.min_gru(H),
    min_gru_signed: jaxrnn.min_gru(H, eigenvalues="signed", activation=jnp.tanh),
    min_lstm: jaxrnn.min_lstm(H),
    lru: jaxrnn.lru(H, states=N),
    lru_signed: jaxrnn.lru(H, states=N, eigenvalues="signed"),
    lru_positive: jaxrnn.lru(H, states=N, eigenvalues="positive"),
    rg_lru: jaxrnn.rg_lru(H),
    rg_lru_signed: jaxrnn.rg_lru(H, eigenvalues="signed"),
    s4d: jaxrnn.s4d(H, states=3),
    linoss: jaxrnn.linoss(H, states=N),
    linoss_explicit: jaxrnn.linoss(H, states=N, discretization="implicit_explicit"),
    s5: jaxrnn.s5(H, states=6, blocks=2),
    ffm: jaxrnn.ffm(H, traces=3, contexts=2),
    rot_rnn: jaxrnn.rot_rnn(H, states=6, heads=2),
}
every_cell = pytest.mark.parametrize("equation", CELLS, ids=lambda e: e.__name__)


def state(carry):
    return np.asarray(carry.h) if hasattr(carry, "h") else np.asarray(carry.real) + 1j * np.asarray(carry.imag)


@every_cell
def test_equals_a_loop_in_numpy(equation):
    cell = CELLS[equation]
    params = random_params(cell, D)
    carry = random_like(cell.init_carry(params, (B,)), seed=1)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    h, expected = state(carry), []
    begun = [carry.begun] if hasattr(carry, "begun") else []
    for x in xs:
        h, y = equation(params, x, h, *begun)
        begun = [np.ones_like(flag) for flag in begun]
        expected.append(y)
    for method in ("auto", "chunked"):  # the laws hold the others to the same
        after, ys = jaxrnn.unroll(cell, params, xs, carry, method=method)
        np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(state(after), h, rtol=0, atol=1e-12)


@pytest.mark.sampled
# One with gates, one with a complex state and a multiplier that stays, one whose first step differs.
@pytest.mark.parametrize("equation", [min_gru, lru, rg_lru], ids=lambda e: e.__name__)
def test_the_way_that_auto_takes_has_the_gradients_of_the_definition(equation):
    """On the CPU no method's name stands for it: under masks and resets, from behind, with a carry from before."""
    cell = CELLS[equation]
    params = random_params(cell, D)
    carry = random_like(cell.init_carry(params, (B,)), seed=1)
    rng = np.random.default_rng(2)
    xs, mask, resets = rng.normal(size=(T, B, D)), rng.random((T, B)) < 0.7, rng.random((T, B)) < 0.3

    def gradient(method):
        def loss(params, xs, carry):
            flow = {"mask": mask, "resets": resets, "reverse": True}
            after, ys = jaxrnn.unroll(cell, params, xs, carry, method=method, **flow)
            return sum((jnp.cos(jnp.arange(leaf.size)) * leaf.ravel()).sum() for leaf in (ys, *after))

        return jax.jit(jax.grad(loss, (0, 1, 2)))(params, xs, carry)

    for a, e in zip(*map(jax.tree.leaves, map(gradient, ("auto", "scan"))), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-11 * max(1, abs(e).max()))


@pytest.mark.parametrize("equation", [lru, rg_lru], ids=lambda e: e.__name__)
def test_a_prefill_is_followed_by_single_steps(equation):
    cell = CELLS[equation]
    params = random_params(cell, D)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    expected = jaxrnn.unroll(cell, params, xs)[1]
    carry, _ = jaxrnn.unroll(cell, params, xs[:4], method="chunked")
    for t in range(4, T):
        carry, y = jaxrnn.step(cell, params, carry, xs[t])
        np.testing.assert_allclose(y, expected[t], rtol=0, atol=1e-12)


# --- gates at their ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-200.0, 0.0, 200.0])
@pytest.mark.parametrize("make", [jaxrnn.min_gru, jaxrnn.min_lstm])
def test_saturated_gates_stay_finite_over_many_steps(make, size):
    cell = make(1)
    shapes = shapes_of(cell, 1)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, size, jnp.float32), shapes)
    xs = jnp.asarray(np.random.default_rng(0).choice([-1, 1], (4096, 1, 1)), jnp.float32)
    loss = jax.value_and_grad(lambda params, xs: (jaxrnn.unroll(cell, params, xs)[1] / 1e3).mean(), (0, 1))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loss(params, xs)))


def test_an_open_gate_keeps_what_a_rounded_one_would_lose():
    """`1 − σ(z)` is 0 from z = 17 on in single precision; `σ(−z)` is not, nor is the quotient of the LSTM's gates."""
    params = {"kernel": jnp.zeros((1, 2, 1)), "bias": jnp.array([[30.0], [0.0]])}
    carry, _ = jaxrnn.unroll(
        jaxrnn.min_gru(1),
        jax.tree.map(jnp.float32, params),
        jnp.ones((1, 1), jnp.float32),
        jaxrnn.HiddenCarry(jnp.ones(1)),
    )
    np.testing.assert_allclose(carry.h, np.exp(-30.0), rtol=1e-5)
    params = {"kernel": jnp.zeros((1, 3, 1)), "bias": jnp.array([[-200.0], [-200.0], [1.0]])}
    carry, _ = jaxrnn.unroll(jaxrnn.min_lstm(1), jax.tree.map(jnp.float32, params), jnp.ones((1, 1), jnp.float32))
    np.testing.assert_allclose(carry.h, [0.5])


# --- parity --------------------------------------------------------------------------------------------------------


def bits():
    return np.random.default_rng(0).integers(0, 2, (1000, 3, 1))


def test_signed_eigenvalues_compute_parity_exactly():
    """`a = 1 − 2 σ(±50)` is ∓1 in single precision: the state's sign is the parity of 1000 bits, without training."""
    params = {"kernel": jnp.float32([[[100.0], [0.0]]]), "bias": jnp.float32([[-50.0], [0.0]])}
    start = jaxrnn.HiddenCarry(jnp.ones((3, 1), jnp.float32))
    cell = jaxrnn.min_gru(1, eigenvalues="signed")
    for method in jaxrnn.methods(cell):
        _, ys = jaxrnn.unroll(cell, params, jnp.float32(bits()), start, method=method)
        np.testing.assert_array_equal((1 - ys) / 2, np.cumsum(bits(), 0) % 2)


@pytest.mark.parametrize("make", [jaxrnn.min_gru, jaxrnn.min_lstm])
def test_positive_eigenvalues_cannot(make):
    """Under a constant input each coordinate moves to one side, while the parity of 1 1 1 … flips at every step."""
    cell = make(16)
    params = random_params(cell, 1)
    _, ys = jaxrnn.unroll(cell, params, np.ones((50, 1)))
    moves = np.sign(np.round(np.diff(ys, axis=0), 12))
    assert ((moves >= 0).all(0) | (moves <= 0).all(0)).all()


# --- what is particular to each ------------------------------------------------------------------------------------


def test_lru_keeps_the_scale_of_its_input():
    """With `exp(γ) = √(1 − |λ|²)` white noise gives a state of unit variance, whatever the eigenvalues."""
    cell = jaxrnn.lru(4, states=256, r_min=0.5, r_max=0.95)
    params = cell.init(jax.random.key(0), 64)
    carry, _ = jaxrnn.unroll(cell, params, np.random.default_rng(0).normal(size=(100, 32, 64)))
    assert 0.9 < (carry.real**2 + carry.imag**2).mean() < 1.1


def test_rg_lru_finds_the_first_step_through_holes_and_resets():
    cell = jaxrnn.rg_lru(H)
    params = random_params(cell, D)
    mask = np.array([0, 1, 1, 0, 0, 1, 1], bool)
    resets = np.array([0, 0, 0, 1, 0, 0, 0], bool)
    r, i, v = gates(params, np.ones(D))
    a = np.exp(-8 * sigma(r) * np.log1p(np.exp(params["decay"])))
    first = sigma(i) * v
    second = (a + np.sqrt(1 - a**2)) * first
    expected = mask[:, None] * np.stack([first, first, second, first, first, first, second])
    for method in jaxrnn.methods(cell):
        _, ys = jaxrnn.unroll(cell, params, np.ones((T, D)), mask=mask, resets=resets, method=method)
        np.testing.assert_allclose(ys, expected, atol=1e-12)


def test_rg_lru_has_bounded_gradients_where_it_forgets_nothing():
    """At `a = 1` the slope of `√(1 − a²)` has no bound."""
    cell = jaxrnn.rg_lru(1)
    params = {"kernel": np.zeros((1, 3, 1)), "bias": np.array([[-60.0], [60.0], [1.0]]), "decay": np.zeros(1)}
    grads = jax.grad(lambda params: jaxrnn.unroll(cell, params, np.ones((4096, 1)))[1].mean())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_s5_loses_nothing_over_short_steps():
    """`exp(Λ Δ) − 1` of 1e-5 has but two digits in single precision, if it is taken as it stands."""
    cell = jaxrnn.s5(1)
    params = cell.init(jax.random.key(0), 1) | {"log_dt": np.full(1, np.log(1e-5), np.float32)}
    single, double = (cell.project(jax.tree.map(kind, params), np.ones(1, kind)).b for kind in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_rotations_hold_the_length_of_the_state():
    """Of white noise: the mean square is 1 in each head, whatever γ and the kernel are."""
    cell = jaxrnn.rot_rnn(4, states=64, heads=2, gamma_min=0.5, gamma_max=0.9)
    params = cell.init(jax.random.key(0), 64)
    params["kernel"] = params["kernel"] * np.linspace(0.1, 5, 64, dtype=np.float32)[None, None]
    carry, _ = jaxrnn.unroll(cell, params, np.random.default_rng(0).normal(size=(60, 256, 64)))
    lengths = (abs(state(carry)) ** 2).reshape(256, 2, 32).sum(-1).mean(0)
    np.testing.assert_allclose(lengths, 1, atol=0.1)


def test_a_trace_is_a_fading_sum_that_a_context_turns():
    """An impulse is left as `exp(−|α| t)`, turned by `ω t`; a negative α fades as a positive one does."""
    cell = jaxrnn.ffm(2, traces=2, contexts=2)
    params = random_params(cell, 1) | {"alpha": np.array([0.1, -0.3]), "omega": np.array([0.0, 0.5])}
    first, _ = jaxrnn.unroll(cell, params, np.ones((1, 1)))
    params["bias"] = np.zeros((2, 2))
    later, _ = jaxrnn.unroll(cell, params, np.zeros((10, 1)), first)
    expected = np.exp(-np.outer([0.1, 0.3], np.full(2, 10)) + 5j * np.array([0, 1])).ravel()
    np.testing.assert_allclose(state(later), expected * state(first), rtol=1e-12)


def test_oscillators_keep_or_lose_their_energy_and_never_gain_any():
    """After one push: by the implicit method the stiffest lose it first; stiffness beyond what is stable is none."""
    kept = {}
    for discretization in ("implicit", "implicit_explicit"):
        cell = jaxrnn.linoss(1, states=4, discretization=discretization)
        params = random_params(cell, 1) | {"stiffness": np.array([-1.0, 0.1, 1.0, 1e3]), "dt_logit": np.zeros(4)}
        carry, _ = jaxrnn.unroll(cell, params, np.eye(1, 2)[0][:, None])
        after, ys = jaxrnn.unroll(cell, params, np.zeros((1000, 1)), carry)
        assert np.isfinite(ys).all()
        kept[discretization] = abs(state(after)) / abs(state(carry))
    np.testing.assert_allclose(kept["implicit_explicit"], 1, rtol=1e-9)
    assert (np.diff(kept["implicit"]) <= 0).all() and kept["implicit"][2] < 1e-6


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = {
    "min_gru: features is 0, expected an int of 1 or more": lambda: jaxrnn.min_gru(0),
    "min_gru: eigenvalues is 'complex', expected one of 'positive', 'signed'": lambda: jaxrnn.min_gru(
        4, eigenvalues="complex"
    ),
    "min_lstm: features is -1, expected": lambda: jaxrnn.min_lstm(-1),
    "lru: states is 0, expected": lambda: jaxrnn.lru(4, states=0),
    "lru: eigenvalues is 'real', expected one of 'complex', 'signed', 'positive'": lambda: jaxrnn.lru(
        4, eigenvalues="real"
    ),
    "lru: r_min is 0.9 and r_max 0.5, expected 0 <= r_min < r_max <= 1": lambda: jaxrnn.lru(4, r_min=0.9, r_max=0.5),
    "rg_lru: eigenvalues is 'complex', expected one of": lambda: jaxrnn.rg_lru(4, eigenvalues="complex"),
    "rg_lru: a_min is 0.9 and a_max 1, expected 0 < a_min < a_max < 1": lambda: jaxrnn.rg_lru(4, a_max=1),
    "s4d: states is 0, expected": lambda: jaxrnn.s4d(4, states=0),
    "s4d: frequencies is 'legs', expected one of 'linear', 'inverse'": lambda: jaxrnn.s4d(4, frequencies="legs"),
    "s4d: dt_min is 0.2 and dt_max 0.1, expected 0 < dt_min < dt_max": lambda: jaxrnn.s4d(4, dt_min=0.2),
    "linoss: states is 0, expected": lambda: jaxrnn.linoss(4, states=0),
    "linoss: discretization is 'exact', expected one of 'implicit', 'implicit_explicit'": lambda: jaxrnn.linoss(
        4, discretization="exact"
    ),
    "ffm: traces is 0, expected": lambda: jaxrnn.ffm(4, traces=0),
    "ffm: contexts is -1, expected": lambda: jaxrnn.ffm(4, contexts=-1),
    "ffm: max_period is 1, expected more than 1 step": lambda: jaxrnn.ffm(4, max_period=1),
    "rot_rnn: heads is 4, expected a divisor of states, 6": lambda: jaxrnn.rot_rnn(6),
    "rot_rnn: gamma_min is 0.9 and gamma_max 1, expected 0 < gamma_min < gamma_max < 1": lambda: jaxrnn.rot_rnn(
        4, gamma_max=1
    ),
    "rot_rnn: max_phase is 0, expected an angle above 0": lambda: jaxrnn.rot_rnn(4, max_phase=0),
    "s5: blocks is 3, expected a divisor of states, 4": lambda: jaxrnn.s5(4, blocks=3),
    "s5: dt_min is 0.2 and dt_max 0.1, expected 0 < dt_min < dt_max": lambda: jaxrnn.s5(4, dt_min=0.2),
    "linear_cell: first and complex_state are both given": lambda: jaxrnn.linear_cell(
        max, max, 4, first=max, complex_state=True
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
