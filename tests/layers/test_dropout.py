"""`dropout`: its rate, its scale, its masks over time."""

import jax
import numpy as np
import pytest

import jaxrnn
from compare import assert_close
from layers.cases import B, D, T, random

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout_zeroes_at_its_rate_and_scales_the_rest(rate):
    xs = np.ones((50, 40, 30))
    _, ys = jaxrnn.unroll(jaxrnn.dropout(rate), {}, xs, key=jax.random.key(0))
    kept = np.asarray(ys != 0)
    np.testing.assert_allclose(ys[kept], 1 / (1 - rate), rtol=1e-12)
    for axes in ((0, 1, 2), (1, 2), (0, 2), (0, 1)):  # everywhere, and evenly over steps, rows and features
        rates, count = kept.mean(axes), np.prod([kept.shape[a] for a in axes])
        np.testing.assert_allclose(rates, 1 - rate, atol=5 * np.sqrt(rate * (1 - rate) / count))
    assert (kept[1:] != kept[:-1]).any()


def test_dropout_per_sequence_keeps_a_row_s_mask():
    layer, xs = jaxrnn.dropout(0.5, per_sequence=True), np.ones((T, 40, 30))
    _, ys = jaxrnn.unroll(layer, {}, xs, key=jax.random.key(0))
    np.testing.assert_array_equal(ys, np.broadcast_to(ys[:1], ys.shape))
    assert (ys[0, 1:] != ys[0, :-1]).any()
    np.testing.assert_allclose((ys[0] != 0).mean(), 0.5, atol=0.07)


@pytest.mark.parametrize("layer", [jaxrnn.dropout(0.5), jaxrnn.dropout(0.0), jaxrnn.dropout(0.5, per_sequence=True)])
def test_dropout_without_a_key_or_a_rate_is_the_identity(layer):
    xs = random(T, B, D)
    assert_close(jaxrnn.unroll(layer, {}, xs), ((), xs))
    assert_close(layer.step({}, (), xs[0]), ((), xs[0]))
    assert_close(jaxrnn.unroll(jaxrnn.dropout(0.0), {}, xs, key=jax.random.key(0)), ((), xs))


def test_dropout_is_a_function_of_its_key():
    layer, xs = jaxrnn.dropout(0.5), random(T, B, 20)
    first, again, other = (jaxrnn.unroll(layer, {}, xs, key=jax.random.key(i))[1] for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
