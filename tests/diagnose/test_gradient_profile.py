"""`gradient_profile` against the gradient of the rest of the sequence, and where it is known exactly."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from compare import assert_close
from diagnose.models import linear
from jaxrnn.diagnose import gradient_profile
from tiers import tiered

T, B, D, H = 5, 2, 3, 4

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def loss(ys: Any) -> Any:
    """Of every output, each with a weight of its own."""
    return sum((jnp.sin(leaf) * random(*leaf.shape)).sum() for leaf in jax.tree.leaves(ys))


def norms(gradient: Any) -> Any:
    """Of all floating leaves of each layer's carry, for each step and sequence."""
    if type(gradient) is tuple:
        return tuple(map(norms, gradient))
    leaves = [leaf for leaf in jax.tree.leaves(gradient) if leaf.dtype != jax.dtypes.float0]
    rows = [np.abs(leaf).reshape(T, B, -1) ** 2 for leaf in leaves]
    return np.sqrt(np.concatenate(rows, -1).sum(-1)) if rows else ()


def by_force(model: Any, params: Any, xs: np.ndarray, mask: Any = None, resets: Any = None) -> Any:
    """The norms of the gradient in what is added to the carry before each step of a loop that is written out."""
    model = model if isinstance(model, jaxrnn.Layer) else jaxrnn.rnn(model)
    valid = np.ones((T, B), bool) if mask is None else mask
    starts = np.zeros((T, B), bool) if resets is None else resets

    def chosen(where: np.ndarray, one: Any, other: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(where.reshape(B, *[1] * (a.ndim - 1)), a, b), one, other)

    def run(added: Any) -> Any:
        carry, ys = model.init_carry(params, (B,)), []
        for t in range(T):
            carry = chosen(starts[t], model.init_carry(params, (B,)), carry)
            carry = jax.tree.map(lambda leaf, a, t=t: leaf + a[t] if leaf.dtype == a.dtype else leaf, carry, added)
            after, y = jaxrnn.step(model, params, carry, jnp.where(valid[t][:, None], xs[t], 1.0))
            carry, y = chosen(valid[t], (after, y), (carry, jax.tree.map(jnp.zeros_like, y)))
            ys.append(y)
        return jax.tree.map(lambda *y: jnp.stack(y), *ys)

    zeros = jax.tree.map(
        lambda leaf: jnp.zeros((T, *leaf.shape), leaf.dtype if jnp.issubdtype(leaf.dtype, jnp.inexact) else float),
        model.init_carry(params, (B,)),
    )
    gradient, ys = jax.jit(jax.grad(lambda added: (lambda ys: (loss(ys), ys))(run(added)), has_aux=True))(zeros)
    assert_close(ys, jaxrnn.unroll(model, params, xs, mask=mask, resets=resets)[1])
    return norms(gradient)


MODELS = {
    "lstm": jaxrnn.lstm(H),
    "lru": jaxrnn.lru(H),  # a complex state
    "rg_lru": jaxrnn.rg_lru(H),
    "stack": jaxrnn.stack(
        jaxrnn.residual(jaxrnn.gru(D)), jnp.tanh, jaxrnn.stack(jaxrnn.slstm(2), jaxrnn.dense(3)), jaxrnn.causal_conv(2)
    ),
    "local_attention": jaxrnn.local_attention(1, 3, features=2),  # a counter in the carry
    "with_carry": jaxrnn.with_carry(jaxrnn.elman(H)),
    "skip": jaxrnn.skip(jaxrnn.gru(H)),
}


@pytest.mark.parametrize("name", tiered(MODELS, ("stack",)))
def test_it_equals_the_gradient_of_the_rest(name: str) -> None:
    model = MODELS[name]
    params, xs = random_params(model, D), random(T, B, D, seed=1)
    assert_close(gradient_profile(model, params, xs, loss), by_force(model, params, xs))


@pytest.mark.parametrize("name", ["lstm", "stack"])
def test_masks_and_resets_mean_what_they_mean_in_unroll(name: str) -> None:
    model = MODELS[name]
    params, xs = random_params(model, D), random(T, B, D, seed=1)
    mask = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [1, 1]], bool)
    resets = np.array([[0, 1], [0, 0], [1, 1], [0, 0], [0, 0]], bool)
    found = gradient_profile(model, params, np.where(mask[..., None], xs, np.nan), loss, mask=mask, resets=resets)
    assert_close(found, by_force(model, params, xs, mask=mask, resets=resets))


def test_padding_does_not_reach_the_gradient() -> None:
    model, lengths = jaxrnn.stack(jnp.log, jaxrnn.gru(H)), np.array([5, 2])
    params, xs = random_params(model, D), np.exp(random(T, B, D))
    xs[2:, 1] = np.nan
    found = gradient_profile(model, params, xs, loss, lengths=lengths)[1]
    alone = gradient_profile(model, params, xs[:2, 1], lambda ys: (jnp.sin(ys) * random(T, B, H)[:2, 1]).sum())[1]
    assert_close(found[:2, 1], np.asarray(alone))
    assert_close(found[2:, 1], np.zeros(3))


def test_a_cell_gives_one_array_over_any_batch_axes() -> None:
    cell = jaxrnn.gru(H)
    params, xs = random_params(cell, D), random(T, 2, 3, D)
    whole = gradient_profile(cell, params, xs, lambda ys: ys[-1].sum())
    assert whole.shape == (T, 2, 3)
    alone = gradient_profile(cell, params, xs[:, 1, 2], lambda ys: ys[-1].sum())
    assert_close(alone, np.asarray(whole[:, 1, 2]))
    assert_close(jax.jit(lambda p: gradient_profile(cell, p, xs, lambda ys: ys[-1].sum()))(params), np.asarray(whole))


def test_an_initial_carry_and_no_steps() -> None:
    cell = jaxrnn.elman(H)
    params, xs = random_params(cell, D), random(T, B, D)
    carry, _ = jaxrnn.unroll(cell, params, xs[:2])
    whole = gradient_profile(cell, params, xs, lambda ys: jnp.square(ys[-1]).sum())
    assert_close(gradient_profile(cell, params, xs[2:], lambda ys: jnp.square(ys[-1]).sum(), carry), whole[2:])
    assert gradient_profile(cell, params, xs[:0], lambda ys: ys.sum()).shape == (0, B)


def test_the_memory_of_an_encoder_is_a_context() -> None:
    model = jaxrnn.attending(jaxrnn.gru(H), memory_features=4)
    memory = jaxrnn.Memory(random(6, B, 4))
    params, xs = random_params(model, D), random(T, B, D)
    found = gradient_profile(model, params, xs, lambda ys: ys[-1].sum(), context=memory)
    assert found.shape == (T, B) and bool((found > 0).all())


def orthogonal(scale: float, seed: int = 0) -> np.ndarray:
    return scale * np.linalg.qr(random(H, H, seed=seed))[0]


@pytest.mark.parametrize("scale", [1.0, 0.8, 1.2])
def test_a_linear_cell_has_the_slope_of_its_scale(scale: float) -> None:
    """A matrix `ρ Q`, Q orthogonal, shrinks the gradient by ρ in each step."""
    cell = linear(H)
    params = random_params(cell, D) | {"recurrent_kernel": orthogonal(scale)[:, None]}
    found = gradient_profile(cell, params, random(40, B, D), lambda ys: ys[-1].sum())
    logs = np.log(np.asarray(found))
    assert_close(logs[:-1] - logs[1:], np.full((39, B), np.log(scale)))


def test_float32_keeps_an_orthogonal_cell_flat() -> None:
    cell = linear(H)
    params = random_params(cell, D) | {"recurrent_kernel": orthogonal(1.0)[:, None]}
    params, xs = jax.tree.map(np.float32, (params, random(200, B, D)))
    found = gradient_profile(cell, params, xs, lambda ys: ys[-1].sum())
    assert found.dtype == np.float32
    assert np.ptp(np.asarray(found) / np.asarray(found[-1])) < 1e-5


def test_an_lstm_with_open_forget_and_closed_input_gates_keeps_its_gradient() -> None:
    cell = jaxrnn.lstm(H)
    params = jax.tree.map(np.zeros_like, random_params(cell, D))
    params["bias"][:2] = [[-100.0], [100.0]]  # i = 0, f = 1
    carry = jaxrnn.LSTMCarry(*np.ones((2, B, H)))
    found = gradient_profile(cell, params, random(50, B, D), lambda ys: ys[-1].sum(), carry)
    assert_close(found, np.full((50, B), 0.5 * (1 - np.tanh(1) ** 2) * np.sqrt(H)))


def test_small_gradients_do_not_underflow_in_their_squares() -> None:
    cell = linear(H)
    params = random_params(cell, D) | {"recurrent_kernel": orthogonal(0.1)[:, None]}
    params, xs = jax.tree.map(np.float32, (params, random(31, B, D)))
    found = np.asarray(gradient_profile(cell, params, xs, lambda ys: ys[-1].sum()))
    assert_close(np.log10(found[0] / found[-1]), np.full(B, -30.0), 1e-5)
