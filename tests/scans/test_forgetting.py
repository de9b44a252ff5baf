"""Matrix recurrences in single precision keep their digits whatever is forgotten, against float64 NumPy loops."""

from functools import cache

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

import jaxrnn
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, N, K, V = 72, 2, 4, 3  # one chunk and a part of another, each of several blocks
VALUES, GRADIENTS = 2e-6, 2e-5  # relative to the largest entry
RULES = {"gated": (1, False), "channels": (K, False), "gated delta": (1, True), "channels delta": (K, True)}
NAMES = ("q", "k", "v", "log_decay", "beta", "carry")


def by_numpy(q, k, v, log_decay, beta, state, resets, weights, last):
    """`S' = α ⊙ S`, `S = S' + k uᵀ`, `y = Sᵀ q`, and what `Σ weights ⊙ y + Σ last ⊙ S` has for gradients, backwards.

    `u` is `v`, or `β (v − S'ᵀ k)`. Where `α` is 0 its logarithm has the gradient 0.
    """
    decay, start = np.exp(log_decay)[..., None], np.zeros_like(state)
    S, past, ys = state, [], []
    for t in range(T):
        before = start if resets[t] else S
        kept = decay[t] * before
        error = v[t] - np.einsum("nkv,nk->nv", kept, k[t])
        u = v[t] if beta is None else beta[t] * error
        S = kept + np.einsum("nk,nv->nkv", k[t], u)
        past.append((before, kept, error, u, S))
        ys.append(np.einsum("nkv,nk->nv", S, q[t]))
    grads = {
        name: np.zeros_like(x) for name, x in zip(NAMES, (q, k, v, log_decay, beta), strict=False) if x is not None
    }
    G = last
    for t in reversed(range(T)):
        before, kept, error, u, after = past[t]
        G = G + np.einsum("nk,nv->nkv", q[t], weights[t])
        grads["q"][t] = np.einsum("nkv,nv->nk", after, weights[t])
        grads["k"][t], du = np.einsum("nkv,nv->nk", G, u), np.einsum("nkv,nk->nv", G, k[t])
        if beta is None:
            grads["v"][t] = du
        else:
            grads["beta"][t] = (du * error).sum(-1, keepdims=True)
            grads["v"][t] = du = beta[t] * du
            grads["k"][t] -= np.einsum("nkv,nv->nk", kept, du)
            G = G - np.einsum("nk,nv->nkv", k[t], du)
        of_log = (G * kept).sum(-1)
        grads["log_decay"][t] = of_log if log_decay.shape[-1] > 1 else of_log.sum(-1, keepdims=True)
        G = np.zeros_like(G) if resets[t] else decay[t] * G
    return {"carry": S, "ys": np.stack(ys)}, {**grads, "carry": G}


@cache
def program(rule):
    def results(arrays, resets, weights, last):
        def loss(arrays):
            width, delta = RULES[rule]
            options = {"carry": arrays["carry"], "resets": resets}
            options["log_decay"] = arrays["log_decay"] if width > 1 else arrays["log_decay"][..., 0]
            if delta:
                options["beta"] = arrays["beta"][..., 0]
            S, ys = jaxrnn.matrix_scan(*(arrays[n] for n in "qkv"), **options, method="chunked")
            return (weights * ys).sum() + (last * S).sum(), {"carry": S, "ys": ys}

        grads, out = jax.grad(loss, has_aux=True)(arrays)
        return out, grads

    return jit(results)


LEVELS = (0.0, -1e-4, -0.01, -0.3, -2.0, -5.0, -20.0, -50.0, -87.0, -1e4, -np.inf)


def assert_digits(got, want, tolerance):
    """Compares arrays by name, relative to the largest entry of each, or to a thousandth of the largest of all."""
    largest = {name: np.abs(expected).max() for name, expected in want.items()}
    for name, expected in want.items():
        bound = tolerance * max(largest[name], 1e-3 * max(largest.values()))
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=bound, err_msg=name)


@pytest.mark.sampled
@hypothesis.settings(max_examples=20, phases=[hypothesis.Phase.generate])
@hypothesis.given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4),
    runs=st.booleans(),
    apart=st.booleans(),
    often=st.sampled_from((0, 0, 0.05, 0.3)),
)
@pytest.mark.parametrize("rule", RULES)
def test_no_pattern_of_decays_costs_digits(rule, seed, levels, runs, apart, often):
    """Levels in runs or strewn over the steps, the same for all channels and heads or not, with and without resets."""
    draw, (width, delta) = np.random.default_rng(seed), RULES[rule]
    q, k, v = (draw.normal(size=(T, N, n)).astype(np.float32) for n in (K, K, V))
    state, last, weights = (draw.normal(size=s).astype(np.float32) for s in ((N, K, V), (N, K, V), (T, N, V)))
    shape = (T, N, width) if apart else (T, 1, 1)
    which = draw.integers(0, len(levels), size=shape)
    if runs:
        which = np.sort(which, axis=0)
    noise = draw.uniform(0.8, 1.25, size=shape)
    log_decay = np.broadcast_to(np.float32(np.array(levels)[which] * noise), (T, N, width)).copy()
    resets = draw.random(T) < often
    arrays = {"q": q, "k": k, "v": v, "log_decay": log_decay, "carry": state}
    if delta:
        arrays["k"] = k / np.linalg.norm(k, axis=-1, keepdims=True)
        arrays["beta"] = draw.uniform(0, 1, size=(T, N, 1)).astype(np.float32)
    wide = {name: x.astype(np.float64) for name, x in arrays.items()}
    want, grads = by_numpy(*(wide.get(n) for n in NAMES), resets, weights.astype(float), last.astype(float))
    got, got_grads = program(rule)(arrays, resets, weights, last)
    assert_digits(got, want, VALUES)
    assert_digits(got_grads, grads, GRADIENTS)
