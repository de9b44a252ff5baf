"""Where the first value that is not finite arose: faults that were put in one place have to be found there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.diagnose import all_finite, first_nonfinite
from tiers import tiered

pytestmark = pytest.mark.usefixtures("quick_compilation")
T, B, D = 6, 3, 2
XS = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
LENGTHS = np.array([6, 4, 0])
PADDED = np.where(np.arange(T)[:, None, None] < LENGTHS[None, :, None], XS, np.nan)


def growing(factor: float = 1e10) -> jaxrnn.Layer:
    """A layer that hands on its input, and whose carry grows by a factor at steps where the input is positive.

    It begins at 1, so that with 1e10 it is infinite after four such steps in single precision.
    """

    def step(params: Any, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return carry * jnp.where(x[..., 0] > 0, factor, 1), x

    def run(params: Any, carry: jax.Array, xs: jax.Array, steps: jaxrnn.Steps) -> tuple[jax.Array, jax.Array]:
        return step(params, carry, xs[-1])[0], xs  # its last carry is of no importance here

    return jaxrnn.layer("growing", lambda key, in_features: {}, run, step, lambda params, batch: jnp.ones(batch))


GROWING = growing()
MODEL = jaxrnn.stack(jaxrnn.gru(3), jnp.tanh, jaxrnn.lstm(3), jaxrnn.dense(2))
PARAMS = MODEL.init(jax.random.key(0), D)
GROWS = np.zeros((T, B, 1), np.float32)
GROWS[1:, 1] = GROWS[:4, 2] = 1  # infinite after step 4 in sequence 1, after step 3 in sequence 2


def changed(params: Any, *path: str, value: float) -> Any:
    """Parameters with one number of one array replaced."""
    if not path:
        return jnp.asarray(params).at[(0,) * params.ndim].set(value)
    return {**params, path[0]: changed(params[path[0]], *path[1:], value=value)}


CFC = jaxrnn.cfc(3)
SOUND = {
    "stack": MODEL,
    "stabilized by -inf": jaxrnn.mlstm(4, heads=2),
    "complex": jaxrnn.lru(3),
    "both directions": jaxrnn.stack(jaxrnn.bidirectional(jaxrnn.gru(3)), jnp.tanh, jaxrnn.residual(jaxrnn.lstm(6))),
    "fewer steps": jaxrnn.stack(jaxrnn.gru(3), jaxrnn.pool(2), jaxrnn.lstm(3)),
    "times": jaxrnn.stack(CFC, jaxrnn.dense(2)),
}


@pytest.mark.parametrize("name", tiered(SOUND, ("stack", "complex")))
def test_a_sound_run_has_no_fault(name: str) -> None:
    """NaN in padding, and what begins infinite, are none."""
    model = SOUND[name]
    params = model.init(jax.random.key(1), D)
    xs = np.abs(PADDED) if "times" in name else PADDED
    carry = model.init_carry(params, (B,))
    assert first_nonfinite(model, params, xs, carry, lengths=LENGTHS, key=jax.random.key(2)) is None


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_has_a_smaller_range(dtype: Any) -> None:
    model = jaxrnn.stack(jaxrnn.gru(3), jaxrnn.dense(1, dtype=dtype))
    params = model.init(jax.random.key(0), D)
    params["layer_1"]["bias"] = jnp.array([1e5])  # above 65,504
    found = first_nonfinite(model, params, XS)
    if dtype == jnp.bfloat16:
        assert found is None
    else:
        assert (found.place, found.name, found.value, found.step) == ("layer", "layer_1", "inf", 0)


def test_a_carry_is_blamed_at_its_first_step() -> None:
    model = jaxrnn.stack(jnp.negative, jnp.negative, GROWING)
    found = first_nonfinite(model, {}, GROWS)
    assert found[:5] == ("layer", "layer_2", "inf", 3, (2,))
    assert str(found) == (
        "step 3 of 6, counted from 0, in layer_2, growing: the carry is inf in 1 of 3 sequences (2); "
        "finite before: inputs up to 1, carry up to 1e+30"
    )
    assert first_nonfinite(model, {}, GROWS[:, :2]).step == 4
    assert first_nonfinite(model, {}, GROWS[:4, 1]) is None  # without a batch axis
    assert first_nonfinite(model, {}, GROWS[:4, 2]).sequences == ()
    several = first_nonfinite(model, {}, np.stack([GROWS, GROWS], 2))
    assert several.sequences == ((2, 0), (2, 1))


def test_masks_resets_and_an_initial_carry_count() -> None:
    mask = np.ones((T, B), bool)
    mask[2, 2] = False  # then it is infinite after step 4 no more than sequence 1 is
    assert first_nonfinite(GROWING, {}, GROWS[:5], mask=mask[:5]).sequences == (1,)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    assert first_nonfinite(GROWING, {}, GROWS, resets=resets).step == 5
    carry = np.array([1, 1e25, 1], np.float32)
    assert first_nonfinite(GROWING, {}, GROWS, carry)[3:5] == (2, (1,))


def test_the_lowest_layer_of_the_earliest_step_is_blamed() -> None:
    slow = growing(1e8)  # infinite after five steps
    assert first_nonfinite(jaxrnn.stack(slow, GROWING), {}, GROWS).name == "layer_1"
    assert first_nonfinite(jaxrnn.stack(GROWING, slow), {}, GROWS).name == "layer_0"
    assert first_nonfinite(jaxrnn.stack(GROWING, growing(1e10)), {}, GROWS).name == "layer_0"
    inner = jaxrnn.stack(jnp.negative, jnp.negative, GROWING)
    assert first_nonfinite(jaxrnn.stack(slow, jaxrnn.residual(inner)), {}, GROWS).name == "layer_1/layer_2"


def test_the_sum_of_a_residual_may_overflow() -> None:
    found = first_nonfinite(
        jaxrnn.stack(jnp.negative, jaxrnn.residual(jaxrnn.stack(jnp.positive))),
        {},
        GROWS * np.float32(3e38),
    )
    assert str(found).startswith("step 0 of 6, counted from 0, in layer_1, the sum of residual: the output is inf")


def test_a_layer_that_is_not_causal_is_blamed_for_its_own_faults_alone() -> None:
    def singular(xs: jax.Array) -> jax.Array:
        return 1 / xs

    model = jaxrnn.stack(singular, jaxrnn.bidirectional(jaxrnn.gru(1)))
    params = model.init(jax.random.key(0), D)
    at_four = np.arange(T)[:, None, None] == 4
    found = first_nonfinite(model, params, np.where(at_four, 0, np.ones((T, B, D), np.float32)))
    assert (found.name, found.step) == ("layer_0", 4)  # the layer above it shows it from step 0 on
    params["layer_1"]["backward"]["kernel"] = jnp.full((D, 3, 1), 3e38).at[0].set(-3e38)
    found = first_nonfinite(model, params, np.where(at_four, 0.1, np.ones((T, B, D), np.float32)))
    # 10 times 3e38 overflows in both features: at step 4, and in this direction before it.
    assert (found.place, found.name, found.value, found.step) == ("layer", "layer_1", "NaN", 0)
    assert "in layer_1, bidirectional(gru(1)): the output is NaN" in str(found) and "inputs up to 10," in str(found)


def test_parameters_come_first_then_the_carry_then_inputs() -> None:
    wrong = changed(PARAMS, "layer_2", "kernel", value=np.nan)
    xs = XS.copy()
    xs[5, 1, 0] = np.inf
    carry = MODEL.init_carry(PARAMS, (B,))
    bad = (*carry[:2], carry[2]._replace(c=carry[2].c.at[1, 2].set(-np.inf)), carry[3])
    assert str(first_nonfinite(MODEL, wrong, xs, bad)) == "the parameter layer_2/kernel has 1 NaN among 36 numbers"
    assert str(first_nonfinite(MODEL, PARAMS, xs, bad)) == "the initial carry 2/c has 1 inf among 9 numbers"
    found = first_nonfinite(MODEL, PARAMS, xs, carry)
    assert str(found) == "step 5 of 6, counted from 0: the inputs are inf in 1 of 3 sequences (1)"
    assert found[:5] == ("input", "", "inf", 5, (1,))
    two = changed(changed(wrong, "layer_0", "bias", value=np.inf), "layer_0", "kernel", value=np.nan)
    said = "the parameter layer_0/bias has 1 inf among 9 numbers, and 2 more of 9 arrays are not finite"
    assert str(first_nonfinite(MODEL, two, XS)) == said


def test_the_loss_and_its_gradient_come_last() -> None:
    found = first_nonfinite(MODEL, PARAMS, XS, loss=lambda ys: jnp.log(-jnp.square(ys).sum()))
    assert str(found).startswith("the loss is NaN; the outputs are finite, up to 0.")
    assert found.place == "loss"
    found = first_nonfinite(MODEL, PARAMS, XS, loss=lambda ys: jnp.sqrt(0 * ys).sum())
    assert (found.place, found.value) == ("gradient", "NaN")
    assert str(found).startswith("the gradient of layer_0/bias has 9 NaN among 9 numbers, and 8 more of 9 arrays")
    assert str(found).endswith("are not finite, while the loss and the outputs are finite")
    assert first_nonfinite(MODEL, PARAMS, XS, loss=lambda ys: ys.sum()) is None


def test_random_masks_are_those_of_the_run() -> None:
    """Dropout doubles what it keeps."""
    model = jaxrnn.stack(jaxrnn.dropout(0.5), jnp.negative)
    large = np.full((T, B, D), 2e38, np.float32)
    assert first_nonfinite(model, {}, large) is None
    assert first_nonfinite(model, {}, large, key=jax.random.key(0)).name == "layer_0"


def test_one_nan_in_a_large_array_is_seen() -> None:
    """XLA's maximum on the CPU passes over it."""
    xs = np.zeros((64, 1, 64), np.float32)
    xs[17, 0, 5] = -1
    found = first_nonfinite(jaxrnn.stack(jnp.sqrt), {}, xs)
    assert (found.name, found.value, found.step) == ("layer_0", "NaN", 17)


def test_no_steps_have_no_fault() -> None:
    assert first_nonfinite(MODEL, PARAMS, XS[:0]) is None
    assert first_nonfinite(MODEL, PARAMS, XS[:0], loss=lambda ys: ys.mean()).place == "loss"


def test_token_ids_are_finite() -> None:
    model = jaxrnn.stack(jaxrnn.embedding(5, 3), jaxrnn.gru(2))
    params = model.init(jax.random.key(0), None)
    ids = np.array([[1, 2], [4, 0]])
    assert first_nonfinite(model, params, ids) is None
    params["layer_1"]["kernel"] = jnp.full((3, 3, 2), 3e38).at[0].set(-3e38)
    params["layer_0"] = jax.tree.map(lambda leaf: jnp.full_like(leaf, 10), params["layer_0"])
    found = first_nonfinite(model, params, ids)
    assert (found.name, found.value, found.step, found.sequences) == ("layer_1", "NaN", 0, (0, 1))
    assert "in layer_1, gru(2): the carry's h is NaN in 2 of 2 sequences (0, 1); finite before: inputs up to 10" in str(
        found
    )


WRONG = {
    "xs": ((MODEL, PARAMS, XS[0, 0]), {}, r"first_nonfinite: xs has shape \(2,\), expected \[T, \*batch, D\]"),
    "model": (("lstm", PARAMS, XS), {}, "first_nonfinite: model is of type str, expected a Cell or a Layer"),
    "params": ((MODEL, {}, XS), {}, "first_nonfinite: params lacks .*layer_0"),
    "both": ((MODEL, PARAMS, XS), {"lengths": LENGTHS, "mask": XS[..., 0] > 0}, "lengths and mask are both given"),
    "loss shape": (
        (MODEL, PARAMS, XS),
        {"loss": lambda ys: ys},
        r"loss returns shape \(6, 3, 2\) and dtype float32, exp",
    ),
    "loss dtype": (
        (MODEL, PARAMS, XS),
        {"loss": lambda ys: ys.argmax()},
        r"loss returns shape \(\) and dtype int32, ex",
    ),
    "loss None": ((MODEL, PARAMS, XS), {"loss": lambda ys: None}, "loss returns None, expected one floating number"),
    "loss str": ((MODEL, PARAMS, XS), {"loss": "mean"}, "loss is 'mean', expected a function of 1 argument"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_gets_one_line(name: str) -> None:
    args, named, said = WRONG[name]
    with pytest.raises(ValueError, match=said) as error:
        first_nonfinite(*args, **named)
    assert "\n" not in str(error.value)


def test_it_needs_values() -> None:
    with pytest.raises(ValueError, match=r"an argument is traced, expected values; call it outside jax\.jit"):
        jax.jit(lambda xs: first_nonfinite(MODEL, PARAMS, xs))(XS)


@pytest.mark.parametrize(
    ("tree", "finite"),
    [
        ({}, True),
        ([jnp.ones(3), jnp.arange(3), jnp.zeros((2, 0)), jnp.array(True)], True),
        ([jnp.ones(3), jnp.array([1, jnp.inf], jnp.bfloat16)], False),
        ([jnp.ones(3), jnp.array([1, -jnp.inf])], False),
        (jnp.array([1 + 1j, complex(0, np.nan)]), False),
    ],
)
def test_all_finite_works_inside_jit(tree: Any, finite: bool) -> None:
    found = jax.jit(all_finite)(tree)
    assert found.shape == () and found.dtype == bool and bool(found) is finite
