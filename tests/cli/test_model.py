"""The character model: every cell in it, its loss, its evaluation, its samples."""

import math
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of
from jaxrnn.cli import model, saved
from jaxrnn.types import Layer, Params

SIZE = 5
IDS = np.random.default_rng(0).integers(0, SIZE, 24).astype(np.int32)


@cache
def small() -> tuple[Layer, Params]:
    layer = model.character_model("gru", 2, 8, SIZE)
    return layer, layer.init(jax.random.key(0), SIZE)


def nats(layer: Layer, params: Params, ids: np.ndarray) -> list[float]:
    """Of each character after the first, step by step."""
    carry, losses = layer.init_carry(params), []
    for before, after in pairwise(ids):
        carry, logits = layer.step(params, carry, math.sqrt(SIZE) * jax.nn.one_hot(before, SIZE))
        losses.append(-float(jax.nn.log_softmax(logits)[after]))
    return losses


def test_every_cell_of_the_package_can_be_chosen() -> None:
    """But those of images: a text has no spatial axes."""
    names = {name for name, cell in jaxrnn.cells.CONSTRUCTORS.items() if "kernel_size" not in jaxrnn.cells.needed(cell)}
    assert names <= set(model.CELLS)
    assert all(any(f"{chosen}_".startswith(f"{name}_") for name in names) for chosen in model.CELLS)


@pytest.mark.parametrize("cell", model.CELLS)
def test_every_cell_takes_any_width(cell: str) -> None:
    for width in (1, 6):
        jax.eval_shape(lambda key, width=width: model.CELLS[cell](width).init(key, SIZE), jax.random.key(0))


@pytest.mark.parametrize("cell", model.CELLS)
def test_every_cell_fits(cell: str) -> None:
    layer = model.character_model(cell, 2, 8, SIZE)
    params = shapes_of(layer, SIZE)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) >= saved.least_numbers(cell, 2, 8)
    carry = jax.eval_shape(lambda p: layer.init_carry(p, (3,)), params)
    objective = model.objective(layer, SIZE)
    loss, after = jax.eval_shape(objective, params, carry, jnp.zeros((7, 3), jnp.int32), jax.random.key(0))
    assert loss.shape == ()
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, carry)
    assert layer.step is not None


def test_the_loss_is_that_of_each_next_character() -> None:
    layer, params = model.character_model("gru", 2, 8, SIZE, drops=False), small()[1]
    carry = layer.init_carry(params, (1,))
    loss, _ = model.objective(layer, SIZE)(params, carry, jnp.asarray(IDS[:, None]), jax.random.key(0))
    np.testing.assert_allclose(loss, np.mean(nats(layer, params, IDS)), rtol=1e-5)


@pytest.mark.parametrize("chunk", [4, 23, 1000])
def test_evaluation_hands_the_carry_on(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "CHUNK", chunk)
    layer, params = small()
    found = model.evaluator(layer, SIZE)(params, IDS)
    np.testing.assert_allclose(found, np.mean(nats(layer, params, IDS)) / math.log(2), rtol=1e-5)


def test_a_model_that_knows_nothing_needs_the_logarithm_of_the_vocabulary() -> None:
    layer, params = small()
    found = model.evaluator(layer, SIZE)(jax.tree.map(jnp.zeros_like, params), IDS)
    np.testing.assert_allclose(found, math.log2(SIZE), rtol=1e-6)


def test_a_sample_is_drawn_from_what_the_layer_says() -> None:
    """With a readout that is nearly certain, the draw is the largest logit after all characters so far."""
    layer, params = small()
    sharp = {**params, "layer_4": jax.tree.map(lambda leaf: 100 * leaf, params["layer_4"])}
    drawn = model.generate(layer, SIZE, sharp, [1, 2], jax.random.key(0))
    written = [1, 2, *(next(drawn) for _ in range(10))]
    carry, expected = layer.init_carry(sharp), [1, 2]
    for character in written[:-1]:
        carry, logits = layer.step(sharp, carry, math.sqrt(SIZE) * jax.nn.one_hot(character, SIZE))
        expected = [*expected, int(logits.argmax())]
    assert written[2:] == expected[3:]
