"""What both Flax modules draw: from Flax's own streams, when asked to, and only for what is random."""

from functools import partial
from typing import Any

import flax.errors
import jax
import numpy as np
import pytest
from flax import nnx

import jaxrnn

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, T, D, H = 3, 5, 3, 4
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
CELL = jaxrnn.gru(H, reset="before")
RANDOM = {
    "dropout": jaxrnn.stack(jaxrnn.rnn(CELL), jaxrnn.dropout(0.5), jaxrnn.dense(2)),
    "zoneout": jaxrnn.zoneout(CELL, 0.5),
    "both directions": jaxrnn.bidirectional(jaxrnn.weight_dropout(jaxrnn.elman(H), 0.5)),
}
CERTAIN = {
    "cell": CELL,
    "stack": jaxrnn.stack(jaxrnn.rnn(CELL), jaxrnn.dropout(0.0), jaxrnn.layer_norm(), jaxrnn.dense(2)),
}
every_random = pytest.mark.parametrize("cell", RANDOM.values(), ids=RANDOM)
every_certain = pytest.mark.parametrize("cell", CERTAIN.values(), ids=CERTAIN)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
same = np.testing.assert_array_equal


def raw(cell: Any, params: Any, key: Any = None) -> Any:
    """What the module ought to give, by the layer itself."""
    layer = cell if isinstance(cell, jaxrnn.Layer) else jaxrnn.rnn(cell)
    return jaxrnn.unroll(layer, params, X.swapaxes(0, 1), key=key)[1].swapaxes(0, 1)


@pytest.mark.sampled
@every_random
def test_linen_draws_from_the_dropout_stream(cell: Any) -> None:
    params = jax.jit(cell.init, static_argnums=1)(jax.random.key(0), D)
    model = jaxrnn.linen.RNN(cell, deterministic=False)
    apply = jax.jit(lambda key: model.apply({"params": params}, X, rngs={"dropout": key}))
    first, again, other = (apply(jax.random.key(seed)) for seed in (0, 0, 1))
    quiet = model.apply({"params": params}, X, deterministic=True)
    same(first, again)
    close(quiet, raw(cell, params))
    assert not np.allclose(first, other) and not np.allclose(first, quiet)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        model.apply({"params": params}, X)


@pytest.mark.sampled
@every_random
def test_nnx_draws_from_the_rngs_of_the_call(cell: Any) -> None:
    model = nnx.jit(lambda: jaxrnn.nnx.RNN(cell, D, rngs=nnx.Rngs(0)))()
    quiet = model(X, rngs=nnx.Rngs(dropout=0))
    model.train()
    noisy = nnx.jit(lambda model, rngs, x: model(x, rngs=rngs))
    rngs = nnx.Rngs(dropout=0)
    first, second = noisy(model, rngs, X), noisy(model, rngs, X)
    assert not np.allclose(first, second) and not np.allclose(first, quiet)
    key = nnx.Rngs(dropout=0).dropout()
    for given in (nnx.Rngs(dropout=0), nnx.Rngs(dropout=0).dropout, key):
        close(model(X, rngs=given), first)
    close(raw(cell, nnx.to_pure_dict(nnx.state(model)), key), first)
    same(model(X, deterministic=True), quiet)
    with pytest.raises(ValueError, match=r"nnx.RNN: deterministic is False and rngs is None, expected rngs=nnx.Rngs"):
        model(X)
    model.eval()
    same(model(X), quiet)


@every_certain
def test_what_is_certain_needs_no_stream(cell: Any) -> None:
    model = nnx.jit(lambda: jaxrnn.nnx.RNN(cell, D, rngs=nnx.Rngs(0)))()
    quiet, params = model(X), nnx.to_pure_dict(nnx.state(model))
    model.train()
    same(model(X), quiet)
    close(jaxrnn.linen.RNN(cell).apply({"params": params}, X, deterministic=False), quiet)


def test_a_layer_of_the_user_s_own_says_that_it_draws() -> None:
    def run(params: Any, carry: Any, xs: Any, steps: jaxrnn.Steps) -> Any:
        return carry, xs if steps.key is None else xs + jax.random.normal(steps.key, xs.shape)

    for draws in (True, False):
        own = jaxrnn.layer("noise", lambda key, in_features: {}, run, draws=draws)
        model = jaxrnn.linen.RNN(own, deterministic=False)
        assert (model.apply({}, X, rngs={"dropout": jax.random.key(0)}) != X).any() == draws
