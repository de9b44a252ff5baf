"""Initial parameters, by their distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import initializers

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_identity(shape):
    np.testing.assert_array_equal(initializers.identity(0.5)(KEY, shape, jnp.float32), 0.5 * np.eye(*shape))
    assert initializers.identity()(KEY, shape, jnp.bfloat16).dtype == jnp.bfloat16


def test_chrono_spreads_times_evenly():
    """`exp` of the forget bias is uniform on [1, T − 1]: mean T / 2, variance (T − 2)² / 12, and within its ends."""
    bias = np.asarray(initializers.chrono(100)(KEY, (4, 20_000), jnp.float32))
    times = np.exp(bias[1])
    assert times.min() >= 1 and times.max() <= 99
    np.testing.assert_allclose(np.quantile(times, [0.1, 0.5, 0.9]), [10.8, 50, 89.2], atol=1)
    np.testing.assert_array_equal(bias[0], -bias[1])
    assert (bias[2:] == 0).all()


def test_chrono_takes_the_gates_from_its_arguments():
    bias = initializers.chrono(100, forget=0, input=None)(KEY, (2, 50), jnp.float32)
    assert (bias[0] > 0).any() and (bias[1] == 0).all()
    bias = initializers.chrono(100, forget=2, input=1)(KEY, (3, 50), jnp.float32)
    assert (bias[0] == 0).all() and (bias[1] == -bias[2]).all() and (bias[2] > 0).any()


def test_chrono_as_the_bias_of_an_lstm():
    init = initializers.chrono(50)
    bias = jaxrnn.lstm(64, forget_bias=0.0, bias_init=init).init(KEY, 3)["bias"]
    assert np.log(49) >= bias[1].max() > 3 and bias[1].min() >= 0
    np.testing.assert_array_equal(bias[0], -bias[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_time": 2}, "chrono: max_time is 2, expected more than 2 steps"),
        ({"max_time": float("nan")}, "chrono: max_time is nan, expected a finite number"),
        ({"max_time": 9, "forget": 0}, "chrono: forget and input are both 0, expected two gates, or input=None"),
    ],
)
def test_chrono_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError) as error:
        initializers.chrono(**arguments)
    assert str(error.value) == message


def test_extra_parameters_are_each_drawn_by_themselves():
    normal = jax.nn.initializers.normal()
    extra = {"a": (normal, (3, 2)), "b": (normal, (3, 2)), "c": normal}
    cell = jaxrnn.pointwise_cell(
        lambda *given: given, 2, jaxrnn.HiddenCarry, gates=("h",), extra=extra, param_dtype=jnp.float16
    )
    params = cell.init(KEY, 5)
    assert params["a"].dtype == jnp.float16 and params["a"].shape == (3, 2)
    assert (params["a"] != params["b"]).any()
    assert params["kernel"].shape == (5, 1, 2) and params["c"].shape == (2,)


def test_offsets_are_added_to_the_biases_of_their_gates():
    gates = {"gates": ("a", "b", "c"), "offsets": {"c": 2.0, "a": -1.0}}
    for make in (jaxrnn.pointwise_cell, jaxrnn.step_cell):
        params = make(lambda *given: given, 2, jaxrnn.HiddenCarry, **gates).init(KEY, 5)
        np.testing.assert_array_equal(params["bias"], [[-1, -1], [0, 0], [2, 2]])
        assert "bias" not in make(lambda *given: given, 2, jaxrnn.HiddenCarry, **gates, use_bias=False).init(KEY, 5)
