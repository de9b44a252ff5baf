"""Every parameter of the package has a role, and optax's optimizers do by it what is meant."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from laws.cells import CELLS, make
from layers.cases import LAYERS
from optax.contrib import MuonDimensionNumbers

import jaxrnn
from arrays import shapes_of
from jaxrnn.roles import NAMES, ROLES
from jaxrnn.types import Cell, Layer
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

D, H = 6, 8
LSTM = jaxrnn.lstm(H)
# Constructors and options with parameters that the cases of the laws lack.
FURTHER: dict[str, Cell | Layer] = {
    "cfc_pure": jaxrnn.cfc(H, mode="pure"),
    "low_rank": jaxrnn.fast_rnn(H, rank=2),
    "lru_signed": jaxrnn.lru(H, eigenvalues="signed"),
    "conv_gru_after": jaxrnn.conv_gru(H, (3,), reset="after"),
    "mamba_block": jaxrnn.mamba_block(H),
    "learned_carries": jaxrnn.learned_carry(jaxrnn.lru(H)),
    "nested": jaxrnn.learned_carry(jaxrnn.weight_norm(jaxrnn.zoneout(jaxrnn.heads(LSTM, 2), 0.1))),
}
MODELS = {**{name: make(name) for name in CELLS}, **LAYERS, **FURTHER}


@cache
def shapes_by_name(name: str) -> Any:
    return shapes_of(MODELS[name], 3)


def named(tree: Any) -> dict[str, Any]:
    """Leaves by their paths."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


AXIS = {"kernel": -3, "recurrent_kernel": -3, "projection": -2}  # along which the inputs of each matrix lie


def muon_numbers(params: Any) -> Any:
    """The dimension numbers that Muon asks for, as the docstring of `roles` makes them."""

    def of(role: str, p: Any) -> MuonDimensionNumbers | None:
        return MuonDimensionNumbers(max(AXIS[role], -p.ndim), -1) if role in AXIS else None

    return jax.tree.map(of, jaxrnn.roles(params), params)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_the_package_has_a_role(name: str) -> None:
    """By a name of its own, but for those of cells that only the tests have."""
    params = shapes_by_name(name)
    roles = jaxrnn.roles(params)
    assert jax.tree.structure(roles) == jax.tree.structure(params)
    unknown = {path for path, role in named(roles).items() if role == "other"}
    assert unknown <= {"['scales']", "['start']"} if name == "odd" else not unknown
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert {n for n in names if n not in ROLES and not n.startswith("initial_")} <= {"scales", "start"}
    for of in jax.tree.leaves(muon_numbers(params), is_leaf=lambda x: isinstance(x, MuonDimensionNumbers)):
        assert of.reduction_axis < of.output_axis == -1  # two axes that differ, as Muon needs


def test_no_name_has_a_role_without_a_parameter() -> None:
    """So that the list does not outlive what it lists; the embedding is Flax's."""
    found = {path[-1].key for m in MODELS for path, _ in jax.tree_util.tree_leaves_with_path(shapes_by_name(m))}
    assert set(ROLES) - found == {"embedding"}
    assert sum(map(len, NAMES.values())) == len(ROLES)  # no name twice


# Roles of whole trees, as a reader of the equations would give them.
TREES: dict[str, tuple[Cell | Layer, dict[str, str]]] = {
    "lstm": (LSTM, {"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "bias": "bias"}),
    "indrnn": (jaxrnn.indrnn(H), {"kernel": "kernel", "recurrent_kernel": "diagonal", "bias": "bias"}),
    "sru": (jaxrnn.sru(H), {"kernel": "kernel", "recurrent_kernel": "diagonal", "bias": "bias"}),
    "slstm": (jaxrnn.slstm(H), {"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "bias": "bias"}),
    "conv_lstm": (
        jaxrnn.conv_lstm(H, (3, 3)),
        {"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "bias": "bias"},
    ),
    "projected": (
        jaxrnn.projected_lstm(H, 4),
        {"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "bias": "bias", "projection": "projection"},
    ),
    "learned": (
        jaxrnn.learned_carry(jaxrnn.weight_norm(LSTM)),
        {
            **{"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "bias": "bias"},
            **{"kernel_scale": "norm", "recurrent_kernel_scale": "norm", "initial_c": "carry", "initial_h": "carry"},
        },
    ),
    "lru": (
        jaxrnn.lru(H),
        {
            **{"kernel": "kernel", "readout": "kernel", "skip": "kernel"},
            **{"nu": "decay", "theta": "decay", "gamma": "decay"},
        },
    ),
    "mamba": (
        jaxrnn.mamba(H),
        {
            **{"kernel": "kernel", "input": "kernel", "read": "kernel", "step_down": "kernel", "step_up": "kernel"},
            **{"log_rate": "decay", "step_bias": "step_size", "skip": "diagonal"},
        },
    ),
    "delta_net": (
        jaxrnn.delta_net(H, heads=2),
        {
            **{"query": "kernel", "key": "kernel", "value": "kernel", "rate": "kernel"},
            **{"scale": "norm", "out": "projection"},
        },
    ),
    "cfc": (
        jaxrnn.cfc(H, mode="pure"),
        {
            **{"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "bias": "bias"},
            **{"head_kernel": "kernel", "head_bias": "bias", "amplitude": "diagonal", "rate": "decay"},
        },
    ),
    "depthwise": (jaxrnn.causal_conv(3), {"depthwise_kernel": "diagonal", "bias": "bias"}),
    "conv": (jaxrnn.causal_conv(3, features=H), {"kernel": "kernel", "bias": "bias"}),
    "conv_ahead": (jaxrnn.conv(H, 3), {"kernel": "kernel", "bias": "bias"}),
    "dense": (jaxrnn.dense(H), {"kernel": "kernel", "bias": "bias"}),
    "layer_norm": (jaxrnn.layer_norm(), {"scale": "norm", "bias": "bias"}),
    "local_attention": (
        jaxrnn.local_attention(2, 4, features=H, use_bias=True),
        {"query": "kernel", "key": "kernel", "value": "kernel", "out": "projection", "out_bias": "bias"},
    ),
    "gated_mlp": (
        jaxrnn.gated_mlp(H),
        {"kernel": "kernel", "bias": "bias", "out": "projection", "out_bias": "bias"},
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_roles_are_those_of_the_equations(name: str) -> None:
    model, expected = TREES[name]
    assert jaxrnn.roles(shapes_of(model, D)) == expected
    outer = jaxrnn.roles({"layer_0": {"forward": shapes_of(model, D), "backward": {}}})
    assert outer == {"layer_0": {"forward": expected, "backward": {}}}


def test_parameters_of_ones_own_go_by_their_names() -> None:
    square = jnp.zeros((H, H))
    own = {"kernel": square, "recurrent_kernel": square, "start": square, "input_kernel": square}
    own |= {
        "gate_bias": square,
        "output_bias": square,
        "key_scale": square,
        "initial_v": square,
        "vector_kernel": square[0],
    }
    assert jaxrnn.roles(own) == {
        **{"kernel": "kernel", "recurrent_kernel": "recurrent_kernel", "start": "other", "input_kernel": "kernel"},
        **{"gate_bias": "bias", "output_bias": "bias", "key_scale": "norm", "initial_v": "carry"},
        "vector_kernel": "diagonal",
    }
    assert jaxrnn.roles({"recurrent_kernel": square}) == {"recurrent_kernel": "recurrent_kernel"}
    assert jaxrnn.roles([square]) == ["other"] and jaxrnn.roles(square) == "other" and jaxrnn.roles({}) == {}


class Tagger(nn.Module):
    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        xs = nn.LayerNorm()(nn.Embed(5, D)(tokens))
        return nn.Dense(2)(jaxrnn.linen.RNN(jaxrnn.indrnn(H), partitioning={"kernel": (None, None, "model")})(xs))


def test_of_flax_models_boxes_included() -> None:
    linen = jax.eval_shape(Tagger().init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    roles = jaxrnn.roles(linen)
    assert jax.tree.structure(roles) == jax.tree.structure(linen)
    assert nn.unbox(roles) == {
        "Embed_0": {"embedding": "embedding"},
        "LayerNorm_0": {"scale": "norm", "bias": "bias"},
        "RNN_0": {"kernel": "kernel", "recurrent_kernel": "diagonal", "bias": "bias"},
        "Dense_0": {"kernel": "kernel", "bias": "bias"},
    }
    state = nnx.state(nnx.eval_shape(lambda: jaxrnn.nnx.RNN(jaxrnn.delta_net(H, heads=2), D, rngs=nnx.Rngs(0))))
    assert nnx.to_pure_dict(jaxrnn.roles(state)) == TREES["delta_net"][1]


def first_updates(tx: optax.GradientTransformation, gradients: Any, params: Any) -> Any:
    return jit(lambda g, p: tx.update(g, tx.init(p), p)[0])(gradients, params)


def matrices(role: str, p: np.ndarray) -> list[np.ndarray]:
    """Each gate's, head's or tap's matrix of a parameter, read off its layout."""
    if p.ndim == 2:
        return [p]
    if role == "projection":
        return [*p.reshape(-1, *p.shape[-2:])]
    return [tap[:, gate] for tap in p.reshape(-1, *p.shape[-3:]) for gate in range(p.shape[-2])]


def newton_schulz(g: np.ndarray) -> np.ndarray:
    """What five steps of Muon's polynomial make of a matrix, by its singular values (Jordan 2024)."""
    u, s, vt = np.linalg.svd(np.asarray(g, np.float64), full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ vt


# Every layout of a matrix: by gate, in blocks, on the diagonal, over taps, by head, of both parts of a complex number.
MUON: dict[str, Callable[[], Cell | Layer]] = {
    "gru": partial(jaxrnn.gru, H),
    "slstm": partial(jaxrnn.slstm, H, heads=2),
    "indrnn": partial(jaxrnn.indrnn, H),
    "delta_net": partial(jaxrnn.delta_net, H, heads=2),
    "lru": partial(jaxrnn.lru, H),
    "stack": lambda: jaxrnn.stack(jaxrnn.causal_conv(2, features=H), jaxrnn.dense(3)),
    "mlstm_block": partial(jaxrnn.mlstm_block, 4, heads=2),
}


def test_muon_makes_each_gates_update_orthogonal_and_leaves_the_rest_to_adam() -> None:
    rate = 0.5
    params = {name: shapes_of(model(), 4 if name == "mlstm_block" else D) for name, model in MUON.items()}
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(draw.normal(size=p.shape), jnp.float32), params)
    gradients = jax.tree.map(lambda p: jnp.asarray(draw.normal(size=p.shape), jnp.float32), params)
    tx = optax.contrib.muon(rate, muon_weight_dimension_numbers=muon_numbers(params))
    updates = first_updates(tx, gradients, params)
    by_adam = named(first_updates(optax.adam(rate, nesterov=True), gradients, params))
    roles, gradients, tried = named(jaxrnn.roles(params)), named(gradients), set()
    for path, update in named(updates).items():
        update, g = np.asarray(update), np.asarray(gradients[path])
        if roles[path] not in AXIS:
            np.testing.assert_allclose(update, by_adam[path], rtol=1e-5, err_msg=path)
            continue
        for found, gradient in zip(matrices(roles[path], update), matrices(roles[path], g), strict=True):
            scale = -rate * np.sqrt(max(1, found.shape[1] / found.shape[0]))
            np.testing.assert_allclose(found / scale, newton_schulz(gradient), atol=2e-3, err_msg=path)
            values = np.linalg.svd(found / scale, compute_uv=False)
            assert values.min() > 0.3 and values.max() < 1.3, (path, values)
            tried.add((roles[path], update.ndim))
    assert tried == {*[("kernel", n) for n in (2, 3, 4)], *[("recurrent_kernel", n) for n in (3, 4)]} | {
        ("projection", 2),
        ("projection", 3),
    }


def test_weight_decay_and_groups_by_role() -> None:
    """With a gradient of zero only decay moves a parameter."""
    layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.learned_carry(jaxrnn.layer_norm_lstm(H))), jaxrnn.rnn(jaxrnn.s5(H)))
    params = jax.tree.map(lambda p: jnp.ones(p.shape), shapes_of(layer, D))
    zero, roles = jax.tree.map(jnp.zeros_like, params), jaxrnn.roles(params)

    def moved(tx: optax.GradientTransformation) -> dict[str, str]:
        updates = first_updates(tx, zero, params)
        return {path: named(roles)[path] for path, update in named(updates).items() if (update != 0).any()}

    mask = jax.tree.map(lambda role: role in AXIS, roles)
    matrices = {path: role for path, role in named(roles).items() if role in AXIS}
    assert {"['layer_0']['kernel']", "['layer_0']['recurrent_kernel']", "['layer_1']['readout']"} <= matrices.keys()
    assert set(named(roles).values()) - set(matrices.values()) == {"bias", "norm", "carry", "decay", "step_size"}
    assert moved(optax.adamw(0.1, weight_decay=0.1, mask=mask)) == matrices
    assert (
        moved(optax.contrib.muon(0.1, weight_decay=0.1, muon_weight_dimension_numbers=muon_numbers(params))) == matrices
    )
    groups = jax.tree.map(lambda role: "slow" if role in ("decay", "step_size") else "rest", roles)
    decayed = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))
    slow = moved(optax.multi_transform({"slow": decayed, "rest": optax.set_to_zero()}, groups))
    assert set(slow.values()) == {"decay", "step_size"} and len(slow) == 3
    by_role = {role: optax.set_to_zero() for role in {*NAMES, "carry", "other"}} | {"carry": decayed}
    assert set(moved(optax.multi_transform(by_role, jaxrnn.roles)).values()) == {"carry"}  # roles as labels


def test_an_nnx_model_is_trained_by_role() -> None:
    model = jaxrnn.nnx.RNN(jaxrnn.elman(H), D, rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    tx = optax.contrib.muon(0.1, weight_decay=0.1, muon_weight_dimension_numbers=muon_numbers)
    before = nnx.to_pure_dict(state)
    nnx.update(model, optax.apply_updates(state, first_updates(tx, jax.tree.map(jnp.zeros_like, state), state)))
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for name in ("kernel", "recurrent_kernel"):
        np.testing.assert_allclose(after[name], 0.99 * before[name], rtol=1e-5)
    np.testing.assert_array_equal(after["bias"], before["bias"])
