"""The carry that a sequence starts from: finite, cleared by a factor of 0, and learned where that is asked for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from laws.cells import CELLS, B, D, H
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_an_slstm_starts_anew_whatever_its_gates_are(forget):
    """From the first input alone, `h = o tanh(g)`, however closed the input gate and open the forget gate, in float32;
    also where the stabiliser that is left over would outweigh it.
    """
    cell = jaxrnn.slstm(H, heads=2, forget=forget, use_bias=False)
    shapes = shapes_of(cell, 4)
    params = {key: jnp.zeros(p.shape, jnp.float32) for key, p in shapes.items()}

    @partial(jax.grad, argnums=(0, 1, 2), has_aux=True)
    def gradient(params, xs, carry):
        after, ys = jaxrnn.unroll(cell, params, xs, carry)
        return ys.sum() + (after.c / after.n).sum(), ys

    compiled = jit(gradient)
    for size in (80.0, 600.0):
        gates = np.zeros((4, 4, H), np.float32)
        for gate, value in enumerate((-1, 1, 0.5 / size, 0.5 / size)):
            gates[gate, gate] = value
        for m in (0.0, 1e3):
            carry = jaxrnn.SLSTMCarry(*np.zeros((4, 2, H), np.float32))._replace(m=np.full((2, H), m, np.float32))
            grads, ys = compiled(params | {"kernel": gates}, np.full((3, 2, 4), size, np.float32), carry)
            np.testing.assert_allclose(ys[0], np.tanh(0.5) / (1 + np.exp(-0.5)), rtol=1e-6)
            assert all_finite((grads, ys))


CARRIES = {
    "slstm": "a weight that must not be 0, and a stabiliser",
    "mlstm": "a stabiliser",
    "rg_lru": "a flag",
}
LEARNED = {name: CELLS[name](H) for name in CARRIES} | {
    "weight_norm(slstm)": jaxrnn.weight_norm(jaxrnn.slstm(H, heads=2)),
}
FIELDS = {"slstm": {"c", "m", "h"}, "weight_norm(slstm)": {"c", "m", "h"}, "mlstm": {"C", "n"}, "rg_lru": {"h"}}


@pytest.mark.sampled
@pytest.mark.parametrize("name", LEARNED)
def test_what_is_learned_of_a_carry_is_finite_and_learns(name):
    """No flag, nothing infinite, nothing that never moves; and a decay of weights or L2 in the loss may see it."""
    plain, cell = LEARNED[name], jaxrnn.learned_carry(LEARNED[name])
    drawn = jit(lambda key: cell.init(key, D))(jax.random.key(0))
    starts = {key: p for key, p in drawn.items() if key.startswith("initial_")}
    state = jax.eval_shape(lambda key: plain.init_carry(plain.init(key, D)), jax.random.key(0))
    assert {key.removeprefix("initial_") for key in starts} == FIELDS.get(name, set(state._fields))
    assert all_finite(drawn)

    draw = np.random.default_rng(0)
    xs = draw.normal(size=(4, B, D))
    moved = {key: p + 0.3 * draw.normal(size=p.shape) for key, p in drawn.items() if key not in starts} | starts

    @jit
    def gradient(params):
        def loss(params):
            ys = jax.tree.leaves(jaxrnn.unroll(cell, params, xs, method="scan")[1])[0]
            return (ys**2).sum() + 1e-2 * sum((p**2).sum() for p in jax.tree.leaves(params))

        return jax.value_and_grad(loss)(params)

    for params in (drawn, moved):
        value, grads = gradient(params)
        assert all_finite((value, grads))
        assert params is drawn or all((grads[key] != 0).any() for key in starts)
        assert all_finite(gradient(jax.tree.map(lambda p, g: 0.9 * p - 0.1 * np.sign(g), params, grads)))


def test_a_start_that_is_not_finite_is_not_learned():
    """A cell of one's own tells from where instead."""
    plain = jaxrnn.gru(H)
    cell = plain._replace(init_carry=lambda params, batch=(): jaxrnn.HiddenCarry(jnp.full((*batch, H), -jnp.inf)))
    with pytest.raises(
        ValueError, match="learned_carry: h of the initial carry is not finite, expected finite values; "
    ):
        jaxrnn.learned_carry(cell).init(jax.random.key(0), D)
    told = cell._replace(learned=lambda carry: (carry._replace(h=jnp.zeros_like(carry.h)), ("h",)))
    assert all_finite(jaxrnn.learned_carry(told).init(jax.random.key(0), D))


def test_a_learned_start_of_an_slstm_is_a_memory_with_a_weight():
    """`exp(m)` of `c`, beside inputs that weigh `exp(i)`: as one more input before the first."""
    cell, plain = jaxrnn.learned_carry(jaxrnn.slstm(1, forget="exp")), jaxrnn.slstm(1, forget="exp")
    params = jax.tree.map(np.zeros_like, cell.init(jax.random.key(0), 1))
    params["kernel"] = np.array([[[0.0], [0.0], [1.0], [0.0]]])
    xs = np.array([[0.3], [-0.7], [1.1]])
    before = np.array([[np.arctanh(0.4)]])
    params |= {"initial_c": np.array([0.4])}
    own = {key: p for key, p in params.items() if not key.startswith("initial_")}
    _, ys = jaxrnn.unroll(cell, params, xs)
    np.testing.assert_allclose(ys, jaxrnn.unroll(plain, own, np.concatenate([before, xs]))[1][1:], atol=1e-12)
    heavy = params | {"initial_m": np.array([50.0])}
    np.testing.assert_allclose(jaxrnn.unroll(cell, heavy, xs)[1], 0.5 * 0.4, atol=1e-12)


def test_a_learned_start_enters_the_first_step_of_an_rg_lru():
    """It decays as any state does; the first input is added whole, as without it."""
    cell, plain = jaxrnn.learned_carry(jaxrnn.rg_lru(H)), jaxrnn.rg_lru(H)
    params = cell.init(jax.random.key(0), D)
    own = {key: p for key, p in params.items() if key != "initial_h"}
    xs = jax.random.normal(jax.random.key(1), (3, D))
    assert_close(jaxrnn.unroll(cell, params, xs), jaxrnn.unroll(plain, own, xs), 0)
    start = np.arange(1.0, H + 1)
    ys = jaxrnn.unroll(cell, params | {"initial_h": start}, xs)[1]
    a = plain.project(own, xs).a
    np.testing.assert_allclose(ys[0], jaxrnn.unroll(plain, own, xs)[1][0] + a[0] * start, rtol=1e-6)
