"""Carries with integers and bools: what has no derivative and no mean, and keeps its dtype.

The laws of cells hold for one such cell, too: `counting` in `laws/cells.py`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxrnn
from arrays import random_params
from compare import assert_close
from jaxrnn import train

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, D, H = 6, 2, 3, 4
MASK = np.arange(T * B).reshape(T, B) % 4 > 0


class Carry(NamedTuple):
    """A state, the number of steps, and whether it is even."""

    h: jax.Array
    count: jax.Array
    even: jax.Array


def counting(features: int) -> jaxrnn.Cell:
    """`hₜ = tanh(W xₜ + hₜ₋₁) / n` in the `n`-th step."""

    def init(key: Any, in_features: int) -> Any:
        return {"kernel": jax.random.normal(key, (in_features, features))}

    def init_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> Carry:
        count = jnp.zeros(batch_shape, jnp.int32)
        return Carry(jnp.zeros((*batch_shape, features)), count, jnp.ones(batch_shape, bool))

    def step(params: Any, carry: Carry, z: Any) -> tuple[Carry, Any]:
        h = jnp.tanh(z + carry.h) / (1 + carry.count[..., None])
        return Carry(h, carry.count + 1, ~carry.even), h

    return jaxrnn.Cell(init, init_carry, lambda params, xs: xs @ params["kernel"], step, None, "dense")


CELL = counting(H)
PARAMS = jax.tree.map(np.float32, random_params(CELL, D))
XS = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)


def dtypes(carry: Any) -> list[str]:
    return [jnp.result_type(leaf).name for leaf in jax.tree.leaves(carry)]


def test_every_verb_keeps_their_dtypes() -> None:
    start = CELL.init_carry(PARAMS, (B,))._replace(count=np.zeros(B, np.int64))  # NumPy's own
    carry, ys = jaxrnn.unroll(CELL, PARAMS, XS, start, mask=MASK)
    assert dtypes(carry) == ["float32", "int32", "bool"]
    assert carry.count.tolist() == MASK.sum(0).tolist() and carry.even.tolist() == [n % 2 == 0 for n in MASK.sum(0)]
    for options in ({"remat": "step"}, {"remat": 2}, {"unroll": 2}):
        assert_close(jaxrnn.unroll(CELL, PARAMS, XS, start, mask=MASK, **options), (carry, ys), 1e-6)
    resets = np.arange(T)[:, None] == np.array([2, 6])
    again, _ = jaxrnn.unroll(CELL, PARAMS, XS, start, resets=resets)
    assert again.count.tolist() == [T - 2, T]
    streamed = start
    for x, reset in zip(XS, resets, strict=True):
        streamed, _ = jaxrnn.step(CELL, PARAMS, streamed, x, resets=reset)
    assert dtypes(streamed) == ["float32", "int32", "bool"]
    assert_close(streamed, again, 1e-6)


def test_transformations_leave_them_alone() -> None:
    """What is learned or kept on average is floating; a name of another field is an error."""
    learned = jaxrnn.learned_carry(CELL)
    params = learned.init(jax.random.key(0), D)
    assert set(params) == {"kernel", "initial_h"}
    for cell, own in ((learned, params), (jaxrnn.zoneout(CELL, 0.5), PARAMS)):
        for key in (None, jax.random.key(1)):
            carry, _ = jaxrnn.unroll(cell, own, XS, mask=MASK, key=key)
            assert dtypes(carry) == ["float32", "int32", "bool"] and carry.count.tolist() == MASK.sum(0).tolist()
    with pytest.raises(ValueError, match=r"zoneout: rate names \['count'\], expected fields .* floating: \('h',\)"):
        jaxrnn.zoneout(CELL, {"count": 0.5})
    _, (_, carries) = jaxrnn.unroll(jaxrnn.with_carry(CELL), PARAMS, XS, mask=MASK)
    assert dtypes(carries) == ["float32", "int32", "bool"]
    assert (carries.count == np.where(MASK, np.cumsum(MASK, 0), 0)).all()


def test_layers_and_modules_carry_them() -> None:
    model = jaxrnn.stack(jaxrnn.bidirectional(CELL), jaxrnn.residual(jaxrnn.stack(CELL, jaxrnn.dense(2 * H))))
    params = model.init(jax.random.key(0), D)
    carry, ys = jaxrnn.unroll(model, params, XS)
    module = jaxrnn.nnx.RNN(model, D, rngs=nnx.Rngs(0))
    nnx.update(module, params)
    start = module.initialize_carry((B, D))
    assert_close(module(XS.swapaxes(0, 1), initial_carry=start, return_carry=True), (carry, ys.swapaxes(0, 1)), 1e-6)
    linen = jaxrnn.linen.RNN(CELL)
    start = linen.initialize_carry(None, (B, D))
    after, _ = linen.apply({"params": PARAMS}, start, XS[0], method="step")
    assert dtypes(after) == dtypes(start) == ["float32", "int32", "bool"]


def test_training_hands_them_on() -> None:
    def objective(params: Any, carry: Any, window: Any, key: Any) -> Any:
        carry, ys = jaxrnn.unroll(CELL, params, window, carry)
        return (ys**2).mean(), carry

    state = train.start(PARAMS, CELL.init_carry(PARAMS, (B,)), optax.sgd(0.1))
    update = train.updater(objective, optax.sgd(0.1), jax.random.key(0))
    for step in range(2):
        state, _ = update(state, step, XS)
    assert state.carry.count.tolist() == [2 * T] * B


def test_their_gradient_is_none() -> None:
    carry = CELL.init_carry(PARAMS, (B,))
    with pytest.raises(TypeError, match="int32"):
        jax.grad(lambda carry: jaxrnn.unroll(CELL, PARAMS, XS, carry)[1].sum())(carry)
    grads = jax.grad(lambda carry: jaxrnn.unroll(CELL, PARAMS, XS, carry)[1].sum(), allow_int=True)(carry)
    assert grads.count.dtype == grads.even.dtype == jax.dtypes.float0 and (grads.h != 0).any()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", np.zeros(B, np.float32), r"carry\.count has dtype float32, expected an integer one"),
        ("count", np.zeros(B, bool), r"carry\.count has dtype bool, expected an integer one"),
        ("even", np.zeros(B, int), r"carry\.even has dtype int\d+, expected bool"),
        ("h", np.zeros((B, H), int), r"carry\.h has dtype int\d+, expected a floating one"),
        ("count", np.zeros((B, 1), int), r"carry\.count has shape \(2, 1\), expected \(2,\)"),
    ],
)
def test_another_kind_is_an_error(field: str, value: Any, message: str) -> None:
    carry = CELL.init_carry(PARAMS, (B,))._replace(**{field: value})
    with pytest.raises(jaxrnn.ShapeError, match=f"^unroll: {message}"):
        jaxrnn.unroll(CELL, PARAMS, XS, carry)
    with pytest.raises(jaxrnn.ShapeError, match=f"^step: {message}"):
        jaxrnn.step(CELL, PARAMS, carry, XS[0])
