"""What is said of a training step that fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.cli import failure
from jaxrnn.cli.model import character_model
from jaxrnn.train import State
from jaxrnn.types import Params

pytestmark = pytest.mark.usefixtures("quick_compilation")
LAYER = character_model("irnn", 1, 4, 5, dropout_rate=0.0)
WINDOW = np.arange(12, dtype=np.int32).reshape(6, 2) % 5
PARAMS = LAYER.init(jax.random.key(0), None)
CARRY = LAYER.init_carry(PARAMS, (2,))


def of_step(before: Params, after: Params) -> str:
    states = (State(params, None, CARRY) for params in (before, after))
    return failure.of_step(LAYER, *states, WINDOW, jax.random.key(1))


def overflowing() -> Params:
    """Character 4 makes the state infinite: its vector has √5 there."""
    kernel = PARAMS["layer_1"]["kernel"].at[4].set(3e38)
    return {**PARAMS, "layer_1": {**PARAMS["layer_1"], "kernel": kernel}}


def test_a_layer_that_fails_is_named_with_its_step() -> None:
    assert WINDOW[2, 0] == 4 and not (WINDOW[:2] == 4).any()
    said = of_step(overflowing(), PARAMS)
    assert said.startswith(
        "in its window, step 2 of 5, counted from 0, in layer_1, rnn(irnn(4)): the carry's h is inf in 1 of 2 "
        "sequences (0); finite before: inputs up to 2.24, carry up to "
    )
    assert said.endswith(", parameters up to 3e+38 (kernel)")


def test_an_update_that_fails_is_told_from_a_loss_that_does() -> None:
    after = {**PARAMS, "layer_3": {**PARAMS["layer_3"], "bias": jnp.full(5, jnp.inf)}}
    said = "the gradient is finite, but after the update the parameter layer_3/bias has 5 inf among 5 numbers"
    assert of_step(PARAMS, after) == said
    large = {**PARAMS, "layer_3": {**PARAMS["layer_3"], "bias": jnp.array([3e38, -3e38, 0, 0, 0])}}
    assert of_step(large, large) == "the loss is inf; the outputs are finite, up to 3e+38"


def test_what_cannot_be_found_again_is_said() -> None:
    assert of_step(PARAMS, PARAMS) == failure.HIDDEN


@pytest.mark.every
def test_a_text_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "CHUNK", 4)
    ids = np.array([0, 1, 2, 3, 0, 1, 4, 2, 1], np.int32)
    assert failure.of_text(LAYER, PARAMS, ids) == failure.HIDDEN
    found = failure.of_text(LAYER, overflowing(), ids)
    assert found.startswith("in the characters from 4 on, step 2 of 4, counted from 0, in layer_1, rnn(irnn(4)): ")
