"""`attention` against its equations in NumPy, and `attending` against a loop by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxrnn
from arrays import random_params, sigma
from compare import assert_close

S, B, Q, D, A = 5, 2, 4, 6, 3
KEY = jax.random.key(0)
VALID = np.array([[1, 0], [0, 0], [1, 0], [1, 0], [1, 0]], bool)
SCORES = ["additive", "dot", "general", "scaled"]

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def by_hand(query, values, valid, params, scores, heads):
    """One query `[Q]` and the values `[S, D]` of one sequence: the equations, vector by vector."""
    contexts, weights = [], []
    for h in range(heads):
        own = slice(h * values.shape[1] // heads, (h + 1) * values.shape[1] // heads)
        e = []
        for m in values:
            if scores == "additive":
                hidden = np.tanh(query @ params["query_kernel"][:, h] + m @ params["memory_kernel"][:, h])
                e.append(params["score"][h] @ hidden)
            elif scores == "general":
                e.append(query @ params["kernel"][:, h] @ m)
            else:
                e.append(query[own] @ m[own] / (np.sqrt(len(m) / heads) if scores == "scaled" else 1))
        w = np.where(valid, np.exp(e), 0)
        w = w / w.sum() if valid.any() else w
        weights.append(w)
        contexts.append(sum(w[s] * values[s, own] for s in range(len(values))))
    return np.concatenate(contexts), np.stack(weights, -1)


def parts(scores, heads, seed=0):
    """`(query, values, params)`, the first with the width that the scores need."""
    width = D if scores in ("dot", "scaled") else Q
    shapes = jax.eval_shape(
        lambda key: jaxrnn.init_attention(key, width, D, scores=scores, heads=heads, features=A), KEY
    )
    params = {name: random(*p.shape, seed=i) for i, (name, p) in enumerate(shapes.items())}
    return random(B, width, seed=7), random(S, B, D, seed=8), params


@pytest.mark.sampled
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("scores", SCORES)
def test_equals_the_equations(scores, heads):
    query, values, params = parts(scores, heads)
    memory = jaxrnn.Memory(np.where(VALID[..., None], values, np.nan), VALID)
    context, weights = jaxrnn.attention(query, memory, params, scores=scores, heads=heads)
    for b in range(B):
        expected = by_hand(query[b], values[:, b], VALID[:, b], params, scores, heads)
        assert_close((context[b], weights[:, b]), expected, 1e-12)
    assert (context[1] == 0).all() and (weights[:, 1] == 0).all()  # nothing of the second sequence is valid


def test_an_empty_memory_gives_0():
    context, weights = jaxrnn.attention(np.ones((B, D)), jaxrnn.Memory(np.ones((0, B, D))))
    assert (context == 0).all() and context.shape == (B, D) and weights.shape == (0, B, 1)


def test_large_scores_do_not_overflow():
    memory = jaxrnn.Memory(np.array([[1e4], [-1e4], [9e3]]))
    context, weights = jaxrnn.attention(np.array([1e4]), memory)
    assert_close((context, weights), (np.array([1e4]), np.array([[1.0], [0.0], [0.0]])))


def test_gradients_reach_the_memory_and_no_invalid_part_of_it():
    query, values, params = parts("additive", 2)

    def loss(values, valid):
        context, _ = jaxrnn.attention(query, jaxrnn.Memory(values, valid), params, scores="additive", heads=2)
        return jnp.square(context).sum()

    found = jax.grad(loss)(np.where(VALID[..., None], values, np.nan), VALID)
    assert (np.asarray(found)[~VALID] == 0).all() and (np.abs(np.asarray(found)[VALID]) > 0).all()


def test_half_precision_sums_in_single():
    query, values, params = parts("additive", 1)
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (query, values, params))
    context, weights = jaxrnn.attention(half[0], jaxrnn.Memory(half[1]), half[2], scores="additive")
    assert context.dtype == weights.dtype == jnp.bfloat16
    wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), half)
    expected = jaxrnn.attention(wide[0], jaxrnn.Memory(wide[1]), wide[2], scores="additive")
    assert_close((context, weights), expected, 0.03)


def lstm_by_hand(params, c, h, x):
    z = np.einsum("...d,dgh->...gh", x, params["kernel"]) + np.einsum("...d,dgh->...gh", h, params["recurrent_kernel"])
    i, f, g, o = np.moveaxis(z + params["bias"], -2, 0)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return c, sigma(o) * np.tanh(c)


def test_attending_feeds_the_context_of_the_step_before():
    H, T = 4, 5
    model = jaxrnn.attending(jaxrnn.lstm(H), scores="general", heads=2, memory_features=D)
    params = random_params(model, 3)
    xs, values = random(T, B, 3), random(S, B, D, seed=1)
    carry, ys = jaxrnn.unroll(model, params, xs, context=jaxrnn.Memory(values))
    assert ys.shape == (T, B, H + D)
    for b in range(B):
        c, h, context = np.zeros(H), np.zeros(H), np.zeros(D)
        for t in range(T):
            c, h = lstm_by_hand(params["cell"], c, h, np.concatenate([context, xs[t, b]]))
            context, _ = by_hand(h, values[:, b], np.ones(S, bool), params["attention"], "general", 2)
            assert_close(ys[t, b], np.concatenate([h, context]), 1e-12)
        assert_close((carry.cell.h[b], carry.context[b]), (h, context), 1e-12)


def translator():
    encoder = jaxrnn.bidirectional(jaxrnn.gru(2))
    decoder = jaxrnn.stack(jaxrnn.embedding(5, 3), jaxrnn.attending(jaxrnn.gru(4)), jaxrnn.dense(5))
    return encoder, decoder, random_params(encoder, 3), random_params(decoder, None)


def test_a_translator_learns_end_to_end():
    """Sources of all lengths, 0 too, with NaN in the padding: gradients of both models are finite and not 0."""
    encoder, decoder, encoding, decoding = translator()
    lengths = np.array([0, 2, S])
    sources = np.where(np.arange(S)[:, None, None] < lengths[:, None], random(S, 3, 3), np.nan)
    targets = np.random.default_rng(0).integers(0, 5, (4, 3))

    def loss(encoding, decoding):
        _, encoded = jaxrnn.unroll(encoder, encoding, sources, lengths=lengths)
        memory = jaxrnn.Memory(encoded, jnp.arange(S)[:, None] < lengths[None])
        _, logits = jaxrnn.unroll(decoder, decoding, targets, context=memory)
        return -jax.nn.log_softmax(logits)[..., 0].mean()

    found = jax.grad(loss, argnums=(0, 1))(encoding, decoding)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found))


def test_beams_share_a_memory_and_another_one_compiles_nothing():
    _, decoder, _, params = translator()
    traced = []

    @jax.jit
    def translated(params, memory):
        traced.append(1)
        step = partial(jaxrnn.step, decoder, params, context=memory)
        carry, first = decoder.init_carry(params, (B,)), jnp.zeros(B, int)
        greedy = jaxrnn.generate(step, carry, first, max_new_tokens=4, eos=1)[1]
        return greedy, jaxrnn.beam_search(step, carry, first, max_new_tokens=4, num_beams=1, eos=1)[0]

    for seed in (0, 1):
        greedy, beam = translated(params, jaxrnn.Memory(random(S, B, 4, seed=seed), VALID))
        np.testing.assert_array_equal(greedy, beam[..., 0])
    assert traced == [1]


@pytest.mark.every
def test_any_cell_may_attend():
    """Cells with times, with several states and with noise."""
    memory = jaxrnn.Memory(np.ones((S, B, 3)))
    for cell in (jaxrnn.cfc(4), jaxrnn.rwkv7(4, heads=2), jaxrnn.s5(4), jaxrnn.weight_dropout(jaxrnn.gru(4), 0.5)):
        model = jaxrnn.attending(cell, memory_features=3)
        params = model.init(KEY, 2)
        _, ys = jaxrnn.unroll(model, params, np.ones((3, B, 2)), context=memory, key=KEY)
        assert ys.shape == (3, B, 4 + 3)


MODEL = jaxrnn.attending(jaxrnn.gru(4), memory_features=D)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxrnn.attending(jaxrnn.gru(4), heads=3), "attending: heads is 3, expected a divisor of 4"),
        (lambda: jaxrnn.attending(jaxrnn.gru(4), scores="dot", memory_features=6), "attending: scores is 'dot' with"),
        (lambda: jaxrnn.attending(jaxrnn.gru(4), scores="best"), "attending: scores is 'best', expected one of"),
        (lambda: jaxrnn.attending(jaxrnn.conv_lstm(4, (3,))), "attending: cell is conv_lstm.*images"),
        (lambda: run(np.ones((S, B, D))), "attending: context is an array of shape .*, expected a Memory"),
        (lambda: run(jaxrnn.Memory(np.ones((S, B, D)), VALID[1:])), r"attending: context.valid has shape \(4, 2\)"),
        (lambda: run(jaxrnn.Memory(np.ones((S, B, D + 1)))), r"attending: context.values has shape \(5, 2, 7\)"),
        (lambda: run(jaxrnn.Memory(np.ones((S, B + 1, D)))), r"attending: context.values has shape \(5, 3, 6\)"),
        (lambda: run(None), "unroll: context is None"),
        (lambda: attend(params={"a": np.ones(2)}), "attention: params has unknown"),
        (lambda: attend(heads=4), "attention: heads is 4, expected a divisor of 6"),
        (lambda: attend(memory=np.ones((S, B, D))), "attention: memory is an array of shape"),
        (lambda: attend(query=np.ones((B, Q))), "attention: scores is 'dot' with queries of 4 features"),
    ],
)
def test_an_error_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def run(context):
    return jaxrnn.unroll(MODEL, MODEL.init(KEY, 3), np.ones((2, B, 3)), context=context)


def attend(**changes):
    given = {"query": np.ones((B, D)), "memory": jaxrnn.Memory(np.ones((S, B, D)))} | changes
    return jaxrnn.attention(**given)


@pytest.mark.every
def test_a_memory_passes_through_both_flax_modules():
    model = jaxrnn.stack(jaxrnn.residual(jaxrnn.stack(MODEL, jaxrnn.dense(3))), jaxrnn.dense(2))
    xs, memory = random(B, 4, 3), jaxrnn.Memory(random(S, B, D, seed=1), VALID)
    module = jaxrnn.linen.RNN(model)
    variables = module.init(KEY, xs, context=memory)
    _, expected = jaxrnn.unroll(model, variables["params"], xs.swapaxes(0, 1), context=memory)
    assert_close(module.apply(variables, xs, context=memory), expected.swapaxes(0, 1))
    carry = module.initialize_carry(KEY, xs[:, 0].shape)
    _, y = module.apply(variables, carry, xs[:, 0], context=memory, method="step")
    assert_close(y, expected[0])
    other = jaxrnn.nnx.RNN(model, 3, rngs=nnx.Rngs(0))
    _, expected = jaxrnn.unroll(model, nnx.to_pure_dict(nnx.state(other, nnx.Param)), xs.swapaxes(0, 1), context=memory)
    assert_close(other(xs, context=memory), expected.swapaxes(0, 1))
    assert_close(other.step(other.initialize_carry(xs[:, 0].shape), xs[:, 0], context=memory)[1], expected[0])
