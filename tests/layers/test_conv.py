"""Convolution and pooling over time against loops in float64 NumPy: which steps they keep, and what reaches them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxrnn
from arrays import random_params
from compare import assert_close
from jaxrnn.layers.backwards import backwards
from layers.cases import B, D, H, random
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T = 9
LENGTHS = np.array([9, 4])
HOLES = np.array([[1, 0, 1, 1, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1, 1, 1]], bool).T
RESETS = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0, 1]], bool).T
NEVER = np.zeros((T, B), bool)


def rows(valid, resets, stride, size, dilation=1):
    """Each row's kept steps, in time: `(the step, the steps in its window, entry by entry, or None)`."""
    reach = (size - 1) * dilation + 1
    ahead = max(reach - stride, 0) // 2
    for b in range(valid.shape[1]):
        steps, sequence = np.flatnonzero(valid[:, b]), np.cumsum(resets[:, b])
        found = []
        for first in range(0, len(steps), stride):
            window = [first - ahead + dilation * entry for entry in range(size)]
            inside = [0 <= i < len(steps) and sequence[steps[i]] == sequence[steps[first]] for i in window]
            found.append((steps[first], [steps[i] if ok else None for i, ok in zip(window, inside, strict=True)]))
        yield b, found


def looped(xs, valid, resets, stride, size, value, width, dilation=1):
    """`value(window)` of each kept step, a list of inputs and None, at a time `stride` times smaller."""
    ys = np.zeros((-(-len(xs) // stride), xs.shape[1], width))
    for b, found in rows(valid, resets, stride, size, dilation):
        for step, window in found:
            ys[step // stride, b] = value([None if at is None else xs[at, b] for at in window])
    return ys


def product(params, window):
    kernel, bias = params["kernel"][:, :, 0], params["bias"]
    return bias + sum(x @ W for x, W in zip(window, kernel, strict=True) if x is not None)


def mean(window):
    return np.mean([x for x in window if x is not None], 0)


def largest(window):
    return np.max([x for x in window if x is not None], 0)


FLOWS = {
    "plain": (np.ones((T, B), bool), NEVER),
    "lengths": (np.arange(T)[:, None] < LENGTHS, NEVER),
    "holes": (HOLES, NEVER),
    "packed": (np.ones((T, B), bool), RESETS),
    "packed holes": (HOLES, RESETS),
}
every_flow = pytest.mark.parametrize("flow", FLOWS)


def told(flow):
    """The arguments of `unroll`: nothing that is None where it says nothing."""
    mask, resets = FLOWS[flow]
    return ({} if mask.all() else {"mask": mask}) | ({"resets": resets} if resets.any() else {})


@pytest.mark.sampled
@every_flow
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation"), [(1, 1, 1), (4, 1, 1), (3, 2, 1), (2, 3, 1), (5, 3, 2), (12, 2, 1)]
)
def test_conv_is_its_equation(kernel_size, stride, dilation, flow):
    layer = jaxrnn.conv(H, kernel_size, stride=stride, dilation=dilation, activation=jnp.tanh)
    params, xs = random_params(layer, D), random(T, B, D)
    value = partial(product, params)
    expected = looped(xs, *FLOWS[flow], stride, kernel_size, lambda w: np.tanh(value(w)), H, dilation)
    given = np.where(FLOWS[flow][0][..., None], xs, np.nan)
    assert_close(jit(partial(jaxrnn.unroll, layer))(params, given, **told(flow)), ((), expected), 1e-12)


@pytest.mark.sampled
@every_flow
@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, None), (3, 1), (5, 2), (1, 2), (2, 4)])
def test_pool_is_its_equation(size, stride, flow):
    xs = random(T, B, D)
    given = np.where(FLOWS[flow][0][..., None], xs, np.nan)
    for kind, value in {"max": largest, "mean": mean}.items():
        layer = jaxrnn.pool(size, stride=stride, kind=kind)
        expected = looped(xs, *FLOWS[flow], stride or size, size, value, D)
        assert_close(jit(partial(jaxrnn.unroll, layer))({}, given, **told(flow)), ((), expected), 1e-12)


@pytest.mark.parametrize(
    ("size", "stride", "total"), [(3, 1, 7), (4, 1, 6), (3, 2, 8), (5, 3, 9), (2, 2, 6), (2, 3, 6)]
)
def test_padding_is_the_same_of_jax_where_the_stride_divides_the_length(size, stride, total):
    layer = jaxrnn.conv(H, size, stride=stride, use_bias=False)
    params, xs = random_params(layer, D), random(total, B, D)
    expected = jax.lax.conv_general_dilated(
        xs.swapaxes(0, 1), params["kernel"][:, :, 0], (stride,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )
    assert_close(jaxrnn.unroll(layer, params, xs)[1], expected.swapaxes(0, 1), 1e-12)


STACK = jaxrnn.stack(
    jaxrnn.conv(H, 5, stride=2, activation=jax.nn.relu),
    jaxrnn.pool(2, kind="mean"),
    jaxrnn.gru(H),
    jaxrnn.conv(D, 3),
    jaxrnn.residual(jaxrnn.bidirectional(jaxrnn.gru(D), merge="sum")),
)
run = jit(partial(jaxrnn.unroll, STACK))


@pytest.mark.sampled
@pytest.mark.parametrize("lengths", [(9, 4), (8, 1), (0, 7), (3, 5)])
def test_rows_of_a_strided_stack_equal_each_alone(lengths):
    """Whatever their lengths, multiples of its stride of 4 or not; the carry is that after the last valid output."""
    params, xs = random_params(STACK, D), random(T, B, D)
    padded = np.where((np.arange(T)[:, None] < np.array(lengths))[..., None], xs, np.nan)
    carry, ys = run(params, padded, lengths=np.array(lengths))
    assert ys.shape == (3, B, D)
    for b, length in enumerate(lengths):
        alone = jaxrnn.unroll(STACK, params, xs[:length, b])
        here = jax.tree.map(lambda leaf, b=b: leaf[b], carry)
        outputs = -(-length // 4)
        assert_close((here, ys[:outputs, b]), alone, 1e-12)
        assert (ys[outputs:, b] == 0).all()


def test_a_packed_row_equals_its_sequences_where_they_begin_at_multiples_of_the_stride():
    params, xs, resets = random_params(STACK, D), random(T, D), np.zeros(T, bool)
    resets[[0, 4, 8]] = True
    carry, ys = run(params, xs, resets=resets)
    parts = [run(params, xs[begin:end]) for begin, end in ((0, 4), (4, 8), (8, 9))]
    assert_close(ys, np.concatenate([own for _, own in parts]), 1e-12)
    assert_close(carry[2], parts[-1][0][2], 1e-12)


@pytest.mark.parametrize("at", [1, 2, 3, 5, 6])
def test_nothing_crosses_a_reset_wherever_it_is(at):
    """What is before it, even infinity, does not change what comes after it, nor the other way round."""
    params, xs, resets = random_params(STACK, D), random(T, D), np.arange(T) == at
    ys = run(params, xs, resets=resets)[1]
    first = -(-at // 4)  # the first output of the second sequence
    for change in (np.inf, 1.0):
        early = run(params, np.where(np.arange(T)[:, None] < at, change, xs), resets=resets)[1]
        late = run(params, np.where(np.arange(T)[:, None] >= at, change, xs), resets=resets)[1]
        assert_close((early[first:], late[:first]), (ys[first:], ys[:first]), 1e-12)


def test_a_reset_acts_on_the_next_step_that_is_kept():
    """And, where no valid step follows, on the carry."""
    layer = jaxrnn.stack(jaxrnn.pool(2), counting())
    xs, mask = np.zeros((6, 1)), np.array([1, 1, 1, 1, 0, 0], bool)

    def counted(*resets):
        return [int(y) for y in jaxrnn.unroll(layer, {}, xs, mask=mask, resets=np.isin(np.arange(6), resets))[1][:, 0]]

    def last(*resets):
        return int(jaxrnn.unroll(layer, {}, xs, mask=mask, resets=np.isin(np.arange(6), resets))[0][1])

    assert [counted(), counted(0), counted(1), counted(2), counted(3)] == [
        *[[1, 2, 0], [1, 2, 0], [1, 1, 0], [1, 1, 0], [1, 2, 0]]
    ]
    assert [last(), last(2), last(3), last(4), last(5)] == [2, 1, 0, 0, 0]


def counting():
    """A layer whose outputs are the numbers of the steps in their sequence."""

    def run(params, carry, xs, steps):
        def step(count, at):
            valid, reset = at
            count = jnp.where(reset, 0, count)
            count = jnp.where(valid, count + 1, count)
            return count, count

        flags = [jnp.zeros(len(xs), bool) if flag is None else flag for flag in (steps.valid, steps.resets)]
        carry, ys = jax.lax.scan(step, carry, tuple(flags))
        return carry, ys[:, None].astype(xs.dtype)

    return jaxrnn.layer("counting", lambda key, in_features: {}, run, None, lambda params, batch: jnp.zeros(batch, int))


@pytest.mark.every
@pytest.mark.parametrize(
    "layer", [STACK, jaxrnn.stack(jaxrnn.conv(H, 3), jaxrnn.pool(3, stride=2))], ids=["stack", "two"]
)
def test_padding_reaches_no_gradient_and_vmap_is_a_batch_axis(layer):
    params, xs = random_params(layer, D), random(T, B, D)
    padded = np.where(HOLES[..., None], xs, np.nan)

    def loss(params, xs, way):
        ys = way(params, xs)
        return jnp.vdot(np.cos(np.arange(ys.size)).reshape(ys.shape), ys)

    def batched(params, xs):
        return jaxrnn.unroll(layer, params, xs, mask=HOLES)[1]

    def mapped(params, xs):
        one = lambda xs, mask: jaxrnn.unroll(layer, params, xs, mask=mask)[1]  # noqa: E731
        return jax.vmap(one, (1, 1), 1)(xs, HOLES)

    grads = [
        jit(jax.grad(partial(loss, way=way), (0, 1)))(params, given)
        for way, given in ((batched, xs), (batched, padded), (mapped, padded))
    ]
    assert_close(grads[1], grads[0], 1e-12)
    assert_close(grads[2], grads[0], 1e-12)
    assert (grads[1][1][~HOLES] == 0).all() and (grads[1][1][HOLES] != 0).any()


def test_no_steps_give_no_outputs():
    params = random_params(STACK, D)
    for flags in ({}, {"lengths": np.zeros(B, int)}, {"resets": np.zeros((0, B), bool)}):
        carry, ys = jaxrnn.unroll(STACK, params, np.zeros((0, B, D)), **flags)
        assert ys.shape == (0, B, D)
        assert_close(carry, STACK.init_carry(params, (B,)))
    assert jaxrnn.unroll(jaxrnn.pool(3), {}, np.ones((1, D)))[1].tolist() == [[1.0] * D]


def test_spatial_axes_are_as_a_batch():
    layer, xs = jaxrnn.stack(jaxrnn.conv(H, 3, stride=2), jaxrnn.pool(2)), random(T, B, 3, D)
    params = random_params(layer, D)
    ys = jaxrnn.unroll(layer, params, xs, mask=HOLES, resets=RESETS)[1]
    for place in range(3):
        assert_close(ys[:, :, place], jaxrnn.unroll(layer, params, xs[:, :, place], mask=HOLES, resets=RESETS)[1])


def test_half_precision_is_summed_in_single():
    layer = jaxrnn.conv(H, 64)
    params, xs = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (random_params(layer, D), random(80, D)))
    ys = jit(partial(jaxrnn.unroll, layer))(params, xs)[1]
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, xs))
    exact = looped(
        wide[1][:, None], np.ones((80, 1), bool), np.zeros((80, 1), bool), 1, 64, partial(product, wide[0]), H
    )
    assert ys.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float64(ys), exact[:, 0], rtol=2**-8, atol=1e-2)
    pooled = jaxrnn.unroll(jaxrnn.pool(80, kind="mean"), {}, jnp.full((80, D), 1.01, jnp.bfloat16))[1]
    assert (
        pooled == jnp.bfloat16(1.01)
    ).all() and pooled.dtype == jnp.bfloat16  # a sum in half precision would end at 64


def test_kernels_start_with_the_variance_of_their_window():
    params = jit(jaxrnn.conv(500, 4).init, static_argnums=1)(jax.random.key(0), 300)
    np.testing.assert_allclose(params["kernel"].std() * np.sqrt(4 * 300), 1, rtol=0.05)
    assert params["kernel"].shape == (4, 300, 1, 500) and (params["bias"] == 0).all()


@pytest.mark.every
@pytest.mark.parametrize("face", ["linen", "nnx"])
def test_flax_modules_follow_the_stride(face):
    """Forward and in reverse: outputs in either order, padding at their end, carries after each last valid output."""
    params, xs = random_params(STACK, D), random(B, T, D)
    params, xs = jax.tree.map(np.float32, (params, xs))
    if face == "linen":
        call = partial(jaxrnn.linen.RNN(STACK, return_carry=True).apply, {"params": params})
    else:
        call = jaxrnn.nnx.RNN(STACK, D, return_carry=True, rngs=nnx.Rngs(0))
        nnx.update(call, params)
    for options in ({}, {"reverse": True}, {"reverse": True, "keep_order": True}):
        carry, ys = call(xs, seq_lengths=np.array([9, 4]), **options)
        assert ys.shape == (B, 3, D) and (ys[1, 1:] == 0).all()
        for b, length in enumerate((9, 4)):
            alone, expected = call(xs[b : b + 1, :length], **options)
            np.testing.assert_allclose(ys[b, : expected.shape[1]], expected[0], rtol=0, atol=1e-5)
            here, alone = jax.tree.map(lambda leaf, b=b: leaf[b], carry), jax.tree.map(lambda leaf: leaf[0], alone)
            assert_close(here, alone, 1e-5)
    time_major = call(xs.swapaxes(0, 1), seq_lengths=np.array([9, 4]), time_major=True)[1]
    np.testing.assert_allclose(time_major.swapaxes(0, 1), call(xs, seq_lengths=np.array([9, 4]))[1], atol=1e-6)


def test_what_runs_backwards_tells_the_steps_of_its_outputs():
    layer = backwards(jaxrnn.pool(2))
    mask, resets = np.arange(8) < 5, np.arange(8) == 2
    steps = jaxrnn.Steps(jnp.asarray(mask), jnp.asarray(resets))
    _, ys, after = layer.run({}, None, jnp.arange(8.0)[:, None] * mask[:, None], steps)
    assert ys[:, 0].tolist() == [0.0, 2.0, 4.0, 0.0]  # of 0; of 2 without 1, which is of another sequence; of 3 and 4
    assert after.valid.tolist() == [True, True, True, False]
    assert after.resets.tolist() == [False, True, False, False]


def test_a_stack_is_called_twice_and_compiled_once():
    traced = []

    def watched(ys):
        traced.append(None)
        return ys

    model = jaxrnn.stack(jaxrnn.conv(H, 3, stride=2), watched, jaxrnn.gru(H))
    params = model.init(jax.random.key(0), D)
    counts = []
    for _ in range(3):
        jaxrnn.unroll(model, params, np.ones((T, D), np.float32))
        counts.append(len(traced))
    assert counts == counts[:1] * 3


STRIDED = jaxrnn.stack(jaxrnn.conv(D, 3, stride=2), jaxrnn.gru(D))
KEY = jax.random.key(0)
ERRORS = {
    "conv: kernel_size is 0, expected an int of 1 or more": lambda: jaxrnn.conv(4, 0),
    "conv: stride is 0, expected an int of 1 or more": lambda: jaxrnn.conv(4, 3, stride=0),
    "conv: dilation is 0, expected an int of 1 or more": lambda: jaxrnn.conv(4, 3, dilation=0),
    "pool: size is 0, expected an int of 1 or more": lambda: jaxrnn.pool(0),
    "pool: stride is 0, expected an int of 1 or more, or None": lambda: jaxrnn.pool(2, stride=0),
    "pool: kind is 'sum', expected one of 'max', 'mean'": lambda: jaxrnn.pool(2, kind="sum"),
    r"residual: model gives 1 steps for 2, expected equally many; .* stack\(conv\(…\), residual\(…\)\)": lambda: (
        jaxrnn.residual(STRIDED).init(KEY, D)
    ),
    r"residual: model gives 1 steps for 2": lambda: jaxrnn.unroll(
        jaxrnn.residual(STRIDED), random_params(STRIDED, D), np.ones((T, D))
    ),
    r"bidirectional: forward gives 1 steps for 2, expected equally many; .* bidirectional\(…\)\)": lambda: (
        jaxrnn.bidirectional(STRIDED).init(KEY, D)
    ),
    r"bidirectional: backward gives 1 steps for 2": lambda: jaxrnn.bidirectional(jaxrnn.gru(D), STRIDED).init(KEY, D),
    r"step: the layer is not causal, since layer_0 \(conv\) looks ahead": lambda: jaxrnn.step(
        STRIDED, random_params(STRIDED, D), ((), jaxrnn.HiddenCarry(np.zeros(D))), np.ones(D)
    ),
    r"step: the layer is not causal, since layer_1 \(pool\) looks ahead": lambda: jaxrnn.step(
        jaxrnn.stack(jnp.tanh, jaxrnn.pool(2)), {}, ((), ()), np.ones(D)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
