"""Truncated backpropagation through time, and stopping it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxrnn
from jaxrnn.train import State, interruptible, start, train, updater
from jaxrnn.types import Array, Carry, Params

pytestmark = pytest.mark.usefixtures("quick_compilation")

LAYER = jaxrnn.stack(jaxrnn.rnn(jaxrnn.lstm(4)), jaxrnn.dropout(0.5), jaxrnn.dense(1))
XS = jax.random.normal(jax.random.key(1), (4, 5, 3, 1))  # four windows of five steps
PARAMS = LAYER.init(jax.random.key(0), 1)


def objective(params: Params, carry: Carry, window: Array, key: Array | None) -> tuple[Array, Carry]:
    carry, ys = jaxrnn.unroll(LAYER, params, window, carry, key=key)
    return jnp.mean((ys - window) ** 2), carry


def fresh(optimizer: optax.GradientTransformation) -> State:
    return start(PARAMS, LAYER.init_carry(PARAMS, (3,)), optimizer)


def test_the_carry_is_handed_on_and_the_gradient_is_not() -> None:
    optimizer = optax.sgd(0.1)
    update = updater(lambda p, c, w, key: objective(p, c, w, None), optimizer, jax.random.key(2))
    params, carry = PARAMS, LAYER.init_carry(PARAMS, (3,))
    for step, state, loss in train(update, fresh(optimizer), lambda step: XS[step], range(4)):
        (expected, carry), grads = jax.value_and_grad(objective, has_aux=True)(params, carry, XS[step - 1], None)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        for found, wanted in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_what_is_random_depends_on_the_step_alone() -> None:
    optimizer = optax.sgd(0.0)
    update = updater(objective, optimizer, jax.random.key(2))
    losses = [float(update(fresh(optimizer), step, XS[0])[1]) for step in (7, 8, 7)]
    assert losses[0] == losses[2] != losses[1]


def test_two_runs_may_start_from_the_same_parameters() -> None:
    """Their buffers are given away, not the parameters'."""
    optimizer = optax.adam(0.1)
    update = updater(objective, optimizer, jax.random.key(2))
    update(fresh(optimizer), 0, XS[0])
    update(fresh(optimizer), 0, XS[0])


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own reaction to Ctrl-C, even in a process that was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_one_acts(first: signal.Signals, hang_up: None) -> None:
    with interruptible() as stopped:
        assert not stopped()
        os.kill(os.getpid(), first)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nohup_is_respected(hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stopped()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_thread_is_left_alone() -> None:
    found: list[Callable[[], bool]] = []

    def body() -> None:
        with interruptible() as stopped:
            found.append(stopped)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert not found[0]()
