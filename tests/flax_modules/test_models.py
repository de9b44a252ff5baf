"""Both Flax faces inside a larger model (embedding, recurrence, readout), trained with optax."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxrnn
from tiers import tiered

pytestmark = pytest.mark.usefixtures("quick_compilation")

SYMBOLS, WIDTH, H, B, T, STEPS = 4, 8, 16, 32, 8, 80
LAYERS = {
    "lstm": jaxrnn.lstm(H),
    "stack": jaxrnn.stack(jaxrnn.rnn(jaxrnn.gru(H)), jaxrnn.dropout(0.1), jaxrnn.rnn(jaxrnn.gru(H))),
}


def recall(key: Any) -> tuple[Any, Any, Any]:
    """Tokens, lengths, and what is to be told at the end: the first token, 2 to 8 steps ago."""
    k_tokens, k_lengths = jax.random.split(key)
    tokens = jax.random.randint(k_tokens, (B, T), 0, SYMBOLS)
    return tokens, jax.random.randint(k_lengths, (B,), 2, T + 1), tokens[:, 0]


def last(ys: Any, lengths: Any) -> Any:
    return ys[jnp.arange(len(lengths)), lengths - 1]


def cross_entropy(logits: Any, targets: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


class LinenTagger(nn.Module):
    cell: Any

    @nn.compact
    def __call__(self, tokens: Any, lengths: Any, *, train: bool = False) -> Any:
        x = nn.Embed(SYMBOLS, WIDTH)(tokens)
        x = jaxrnn.linen.RNN(self.cell, name="rnn")(x, seq_lengths=lengths, deterministic=not train)
        return nn.Dense(SYMBOLS)(last(x, lengths))


class NNXTagger(nnx.Module):
    def __init__(self, cell: Any, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(SYMBOLS, WIDTH, rngs=rngs)
        self.rnn = jaxrnn.nnx.RNN(cell, WIDTH, rngs=rngs)
        self.readout = nnx.Linear(H, SYMBOLS, rngs=rngs)

    def __call__(self, tokens: Any, lengths: Any, rngs: nnx.Rngs | None = None) -> Any:
        x = self.rnn(self.embed(tokens), seq_lengths=lengths, rngs=rngs)
        return self.readout(last(x, lengths))


def trained_linen(cell: Any) -> tuple[list[float], Callable[..., Any], Any]:
    model, tx = LinenTagger(cell), optax.adam(1e-2)
    params = model.init(jax.random.key(0), *recall(jax.random.key(0))[:2])["params"]

    @jax.jit
    def update(params: Any, state: Any, key: Any) -> tuple[Any, Any, Any]:
        tokens, lengths, targets = recall(key)

        def loss(params: Any) -> Any:
            rngs = {"dropout": jax.random.fold_in(key, 1)}
            return cross_entropy(model.apply({"params": params}, tokens, lengths, train=True, rngs=rngs), targets)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state, losses = tx.init(params), []
    for k in range(STEPS):
        params, state, value = update(params, state, jax.random.key(k))
        losses.append(float(value))
    return losses, lambda tokens, lengths: model.apply({"params": params}, tokens, lengths), params["rnn"]


def trained_nnx(cell: Any) -> tuple[list[float], Callable[..., Any], Any]:
    model = NNXTagger(cell, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def update(model: Any, optimizer: Any, rngs: Any, key: Any) -> Any:
        tokens, lengths, targets = recall(key)

        def loss(model: Any, rngs: Any) -> Any:
            return cross_entropy(model(tokens, lengths, rngs), targets)

        value, gradient = nnx.value_and_grad(loss)(model, rngs)
        optimizer.update(model, gradient)
        return value

    model.train()
    rngs = nnx.Rngs(dropout=0)
    losses = [float(update(model, optimizer, rngs, jax.random.key(k))) for k in range(STEPS)]
    model.eval()
    return losses, model, nnx.to_pure_dict(nnx.state(model.rnn))


@pytest.mark.every
@pytest.mark.parametrize("name", tiered(LAYERS, ("lstm",)))
@pytest.mark.parametrize("train", [trained_linen, trained_nnx])
def test_learns_to_recall(train: Callable[..., Any], name: str) -> None:
    losses, predict, params = train(LAYERS[name])
    assert np.mean(losses[:3]) > 1.2  # chance is log 4 = 1.39
    assert np.mean(losses[-5:]) < 0.3
    tokens, lengths, targets = recall(jax.random.key(STEPS))
    assert (predict(tokens, lengths).argmax(-1) == targets).mean() > 0.9

    raw = LAYERS[name].init(jax.random.key(0), WIDTH)
    assert jax.tree.structure(params) == jax.tree.structure(raw)  # the trained tree is the functional one
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, raw)


def test_faces_are_at_hand_and_cost_nothing_until_asked_for() -> None:
    """`import jaxrnn` reaches both, without importing Flax for those who do not use it."""
    code = (
        "import sys, jaxrnn; before = 'flax' in sys.modules; "
        "print(before, jaxrnn.linen.RNN.__module__, jaxrnn.nnx.RNN.__module__)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["False", "jaxrnn.linen", "jaxrnn.nnx"]
    with pytest.raises(AttributeError, match="module 'jaxrnn' has no attribute 'haiku'"):
        _ = jaxrnn.haiku
