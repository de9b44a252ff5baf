"""The character model: every cell in it, its dropout, its learning rate, its loss, its evaluation."""

import math
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxrnn
from arrays import shapes_of
from jaxrnn.cli import model, saved
from jaxrnn.types import Layer, Params

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE = 5
IDS = np.random.default_rng(0).integers(0, SIZE, 24).astype(np.int32)


@cache
def small() -> tuple[Layer, Params]:
    layer = model.character_model("gru", 2, 8, SIZE)
    return layer, jax.jit(lambda key: layer.init(key, None))(jax.random.key(0))


def nats(layer: Layer, params: Params, ids: np.ndarray) -> list[float]:
    """Of each character after the first, step by step."""
    assert layer.step is not None
    carry, losses, step = layer.init_carry(params), [], jax.jit(layer.step)
    for before, after in pairwise(ids):
        carry, logits = step(params, carry, before)
        losses.append(-float(jax.nn.log_softmax(logits)[after]))
    return losses


def test_every_cell_of_the_package_can_be_chosen() -> None:
    """But those of images: a text has no spatial axes."""
    names = {name for name, cell in jaxrnn.cells.CONSTRUCTORS.items() if "kernel_size" not in jaxrnn.cells.needed(cell)}
    assert names <= set(model.CELLS)
    assert all(any(f"{chosen}_".startswith(f"{name}_") for name in names) for chosen in model.CELLS)


def test_no_cell_is_made_before_it_is_asked_for() -> None:
    """Else every command would begin with all of them."""
    asked = []

    def cell(features: int) -> jaxrnn.Cell:
        asked.append(features)
        return jaxrnn.cfc(features)

    made = model.of_width(cell)
    assert asked == []
    assert (
        made(3).init(jax.random.key(0), 2)["kernel"].shape == jaxrnn.cfc(3).init(jax.random.key(0), 3)["kernel"].shape
    )
    assert asked == [3]


@pytest.mark.parametrize("cell", model.CELLS)
def test_every_cell_takes_any_width(cell: str) -> None:
    for width in (1, 6):
        jax.eval_shape(lambda key, width=width: model.CELLS[cell](width).init(key, SIZE), jax.random.key(0))


@pytest.mark.sampled
@pytest.mark.parametrize("cell", model.CELLS)
def test_every_cell_fits(cell: str) -> None:
    layer = model.character_model(cell, 2, 8, SIZE)
    params = shapes_of(layer, None)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) >= saved.least_numbers(cell, 2, 8)
    carry = jax.eval_shape(lambda p: layer.init_carry(p, (3,)), params)
    objective = model.objective(layer)
    loss, after = jax.eval_shape(objective, params, carry, jnp.zeros((7, 3), jnp.int32), jax.random.key(0))
    assert loss.shape == ()
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, carry)
    assert layer.step is not None


@pytest.mark.parametrize("chunk", [4, 1000])
def test_the_loss_is_that_of_each_next_character(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "CHUNK", chunk)
    layer, params = model.character_model("gru", 2, 8, SIZE, dropout_rate=0.0), small()[1]
    carry = layer.init_carry(params, (1,))
    loss, _ = jax.jit(model.objective(layer))(params, carry, jnp.asarray(IDS[:, None]), jax.random.key(0))
    np.testing.assert_allclose(loss, np.mean(nats(layer, params, IDS)), rtol=1e-5)


@pytest.mark.parametrize("chunk", [4, 23, 1000])
def test_evaluation_hands_the_carry_on(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "CHUNK", chunk)
    layer, params = small()
    found = model.evaluator(layer)(params, IDS)
    np.testing.assert_allclose(found, np.mean(nats(layer, params, IDS)) / math.log(2), rtol=1e-5)


def test_a_model_that_knows_nothing_needs_the_logarithm_of_the_vocabulary() -> None:
    layer, params = small()
    found = model.evaluator(layer)(jax.tree.map(jnp.zeros_like, params), IDS)
    np.testing.assert_allclose(found, math.log2(SIZE), rtol=1e-6)


def test_characters_come_in_as_vectors_of_mean_square_1() -> None:
    layer = model.one_hot(SIZE)
    _carry, vectors = jaxrnn.unroll(layer, {}, jnp.asarray(IDS))
    np.testing.assert_array_equal(vectors.argmax(-1), IDS)
    np.testing.assert_allclose((vectors**2).mean(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("cell", "rate", "used"), [("gru", None, 0.5), ("min_gru", None, 0.1), ("gru", 0.3, 0.3), ("min_gru", 0.0, 0.0)]
)
def test_dropout_is_what_is_asked_for(
    cell: str, rate: float | None, used: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    made = jaxrnn.dropout
    monkeypatch.setattr(model, "dropout", lambda rate: rates.append(rate) or made(rate))
    model.character_model(cell, 2, 4, SIZE, dropout_rate=rate)
    assert {*rates} == {used}


def test_schedules() -> None:
    """They rise in the first twentieth and fall to 0, all but the constant one, which does not know the end."""
    at = np.array([0, 1, 5, 25, 52, 100])
    cosine, linear, constant = (np.array([make(2.0, 100)(n) for n in at]) for make in model.SCHEDULES.values())
    expected = np.array([optax.warmup_cosine_decay_schedule(0, 2.0, 5, 100)(n) for n in at])
    np.testing.assert_allclose(cosine, expected, rtol=1e-6)
    np.testing.assert_allclose(linear, [0, 0.4, 2, 2 * 75 / 95, 2 * 48 / 95, 0], rtol=1e-6)
    np.testing.assert_array_equal(constant, 2)


@pytest.mark.parametrize("schedule", model.SCHEDULES)
def test_the_optimizer_follows_its_schedule(schedule: str) -> None:
    """Where gradients are equal, a step of Adam is its learning rate."""
    optimizer, params = model.optimizer(0.5, 100, schedule), jnp.zeros(())
    state = optimizer.init(params)
    for step in range(3):
        update, state = optimizer.update(jnp.ones(()), state)
        np.testing.assert_allclose(-update, model.SCHEDULES[schedule](0.5, 100)(step), rtol=1e-4)
