"""Wrong inputs: of calls that run something, or take arrays and trees, one argument is replaced by nonsense."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxrnn
from arrays import zero_params
from jaxrnn import initializers, interop
from nonsense import CARRY, CELL, KEY, PARAMS, XS, ZEROS, B, D, H, T, Wrong, of_signature

NOT_ARRAYS = {"str": "a", "list": [[0.0]], "tuple": (XS,), "dict": {"a": XS}, "object": object()}
NOT_FLOATS = {"ints": jnp.ones((T, B, D), int), "bools": np.ones((T, B, D), bool)}
WRONG: dict[str, dict[str, Any]] = {
    "params": {
        "None": None,
        "zero": 0,
        "str": "a",
        "list": [PARAMS],
        "empty": {},
        "missing": {"kernel": PARAMS["kernel"]},
        "unknown": PARAMS | {"more": ZEROS},
        "text": PARAMS | {"bias": "a"},
        "nested": PARAMS | {"bias": {"a": ZEROS}},
        "whole": {"params": PARAMS},
        "narrow": PARAMS | {"bias": ZEROS},
        "ints": PARAMS | {"bias": np.zeros((4, H), int)},
        "none inside": PARAMS | {"bias": None},
    },
    "xs": {"None": None, "number": 1.0, "empty": jnp.ones((T, B, 0)), "wide": jnp.ones((T, B, 7))}
    | {"flat": ZEROS}
    | NOT_ARRAYS
    | NOT_FLOATS,
    "carry": NOT_ARRAYS
    | {
        "zero": 0,
        "dict": CARRY._asdict(),
        "tuple": tuple(CARRY),
        "list": list(CARRY),
        "batch": CARRY._replace(c=np.zeros((7, H), np.float32)),
        "other": jaxrnn.HiddenCarry(CARRY.h),
        "ints": CARRY._replace(c=np.zeros((B, H), int)),
        "text": CARRY._replace(c="a"),
        "none inside": CARRY._replace(c=None),
    },
    "lengths": {
        "number": 3,
        "str": "a",
        "list": [1, 2],
        "dict": {"a": 1},
        "negative": np.array([1, -2]),
        "negative of JAX": jnp.array([1, -2]),
        "fractions": np.array([1.0, 2.0]),
        "flags": np.array([True, False]),
        "many": np.array([1, 2, 3]),
        "scalar": np.array(1),
    },
    "mask": {
        "bool": True,
        "str": "a",
        "list": [[True]],
        "ints": np.ones((T, B), int),
        "transposed": np.ones((B, T), bool),
        "deep": np.ones((T, B, 1), bool),
    },
    "key": {"zero": 0, "str": "a", "bool": True, "floats": ZEROS, "two": jax.random.split(KEY), "list": [0, 0]},
    "reverse": {"str": "False", "one": 1, "None": None, "list": [], "array": np.array([True, False])},
    "method": {"str": "best", "None": None, "zero": 0, "list": ["scan"], "other": "associative"},
    "remat": {"str": "all", "zero": 0, "bool": True, "fraction": 1.5, "list": [1], "negative": -2},
    "chunk": {"str": "all", "zero": 0, "bool": True, "fraction": 1.5, "list": [4, 2], "negative": -2, "None": None}
    | {"empty": (), "growing": (2, 4), "equal": (2, 2), "text": ("a",), "array": np.array([4, 2])},
    "loss": {"None": None, "str": "a", "array": ZEROS, "vectors": lambda ys: ys, "text": lambda ys: "a"}
    | {"ints": lambda ys: 1, "nothing": lambda ys: None, "complex": lambda ys: jnp.sum(ys) * 1j},
    "targets": {"str": "a", "number": 1.0, "short": np.ones((1, B)), "object": object(), "texts": {"a": "b"}},
    "unroll": {"str": "all", "zero": 0, "bool": True, "fraction": 1.5, "list": [1], "negative": -2},
    "in_features": {"None": None, "str": "3", "bool": True, "zero": 0, "negative": -1, "fraction": 2.5}
    | {"shape": (T, B, D), "list": [[0.0]], "ints": NOT_FLOATS["ints"], "scalar": np.array(3.0)},
    "batch_shape": {"number": 8, "None": None, "str": "a", "negative": (-1,), "fraction": (2.5,), "bool": (True,)},
}
WRONG["resets"] = WRONG["mask"]
INSIDE = {"unknown": "a", "text": "kernel"}  # weights of other frameworks are named by their own names


def tried(label: str, call: Callable[..., Any], valid: dict[str, Any], names: dict[str, str]) -> Iterator[Wrong]:
    """Every named argument of a call, by what is wrong for `names[argument]`."""
    for name, of in names.items():
        for word, value in WRONG[of].items():
            yield Wrong(label, name, word, partial(_shapes, call, valid | {name: value}))


def _shapes(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    return jax.eval_shape(lambda: call(**arguments))


def own_kinds(*names: str) -> dict[str, str]:
    """Says that what is wrong for each argument stands in `WRONG` under its own name."""
    return dict(zip(names, names, strict=True))


def runs() -> Iterator[Wrong]:
    """Of what runs cells and layers, and of the functions of their records."""
    steps = own_kinds("lengths", "mask", "resets", "key")
    how = own_kinds("reverse", "method", "remat", "unroll")
    valid = {"model": CELL, "params": PARAMS, "xs": XS}
    for run in (jaxrnn.unroll, jaxrnn.unroll_with_aux):
        yield from tried(run.__name__, run, valid, own_kinds("params", "xs", "carry") | steps | how)
    folded = valid | {"loss": jnp.sum}
    names = own_kinds("params", "xs", "carry", "loss", "targets", "chunk") | steps | {"truncate": "reverse"}
    yield from tried("fold", jaxrnn.fold, folded, names)
    yield from tried("last", jaxrnn.last, {"ys": XS}, own_kinds("lengths", "mask") | {"ys": "xs"})
    first = {"model": CELL, "in_features": D, "batch_shape": ()}
    yield from tried("initial_carry", jaxrnn.initial_carry, first, own_kinds("in_features", "batch_shape"))
    one = {"model": CELL, "params": PARAMS, "carry": CARRY, "x": XS[0]}
    yield from tried("step", jaxrnn.step, one, own_kinds("params", "carry") | {"x": "xs", "resets": "lengths"})
    for word, value in {"None": None, "str": "lstm", "class": jaxrnn.Cell, "zero": 0, "function": jnp.tanh}.items():
        for call, given in ((jaxrnn.unroll, valid), (jaxrnn.step, one), (jaxrnn.initial_carry, first)):
            yield Wrong(call.__name__, "model", word, partial(_shapes, call, given | {"model": value}))
        yield Wrong("methods", "cell", word, partial(jaxrnn.methods, value))
    layers = {
        "rnn": jaxrnn.rnn(CELL),
        "stack": jaxrnn.stack(jaxrnn.rnn(CELL), jaxrnn.dense(2)),
        "dense": jaxrnn.dense(2),
        "dropout": jaxrnn.dropout(0.5),
        "layer_norm": jaxrnn.layer_norm(),
        "causal_conv": jaxrnn.causal_conv(2),
        "residual": jaxrnn.residual(jaxrnn.dense(D)),
        "bidirectional": jaxrnn.bidirectional(CELL),
        "conv": jaxrnn.conv(H, 3, stride=2),
        "pool": jaxrnn.pool(2),
        "griffin_block": jaxrnn.griffin_block(D),
        "local_attention": jaxrnn.local_attention(2, 3, features=H),
        "rms_norm": jaxrnn.rms_norm(),
        "gated_mlp": jaxrnn.gated_mlp(D),
        "mamba_block": jaxrnn.mamba_block(D, states=2),
        "mlstm_block": jaxrnn.mlstm_block(4, heads=2),
        "matrix_block": jaxrnn.matrix_block(jaxrnn.ssd(4, heads=2)),
    }
    for name, layer in layers.items():
        params = zero_params(layer, D)
        valid = {"params": params, "carry": None, "xs": XS}
        names = steps | own_kinds("xs", "carry") | (own_kinds("params") if params else {})
        yield from tried(name, partial(jaxrnn.unroll, layer), valid, names)
        yield from tried(name, layer.init, {"key": KEY, "in_features": D}, own_kinds("key", "in_features"))
        yield from tried(name, layer.init_carry, {"params": params, "batch_shape": ()}, own_kinds("batch_shape"))
        if layer.step is not None:
            shapes = jax.eval_shape(lambda p, layer=layer: layer.init_carry(p, (B,)), params)
            carry = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
            valid = {"params": params, "carry": carry, "x": XS[0]}
            yield from tried(name, partial(jaxrnn.step, layer), valid, own_kinds("carry") | {"x": "xs"})
    for cell in (CELL, jaxrnn.lru(H), jaxrnn.gla(H, heads=2), jaxrnn.zoneout(CELL, 0.5), jaxrnn.conv_gru(2, (3,))):
        params = zero_params(cell, D)
        yield from tried("init", cell.init, {"key": KEY, "in_features": D}, own_kinds("key", "in_features"))
        yield from tried("init_carry", cell.init_carry, {"params": params, "batch_shape": ()}, own_kinds("batch_shape"))
    for record in (CELL, layers["dense"]):
        yield Wrong("", "cell" if record is CELL else "layer", "call", (lambda record=record: record(XS)))


def scans() -> Iterator[Wrong]:
    """Of the linear recurrences."""
    plain = {"str": "a", "list": [0.0], "dict": {}, "ints": np.ones((T, B), int), "None": None, "flat": np.ones(7)}
    valid = {"a": jnp.ones((T, B)), "b": jnp.ones((T, B))}
    WRONG["operand"] = plain
    WRONG["start"] = {word: value for word, value in plain.items() if word != "None"}
    WRONG["log_decay"] = WRONG["start"] | {"wide": np.ones((T, B, 2, 7))}
    yield from tried("linear_scan", jaxrnn.linear_scan, valid, {"a": "operand", "b": "operand", "carry": "start"})
    yield from tried("linear_scan", jaxrnn.linear_scan, valid, own_kinds("reverse", "method") | {"resets": "mask"})
    x = jnp.ones((T, B, 2, 3))
    names = dict.fromkeys("qkv", "operand") | {"log_decay": "log_decay", "beta": "start", "carry": "start"}
    names |= own_kinds("resets", "method") | {"chunk": "unroll"}
    yield from tried("matrix_scan", jaxrnn.matrix_scan, {"q": x, "k": x, "v": x}, names)


def faces() -> Iterator[Wrong]:
    """Of the Flax modules."""
    xs = XS.swapaxes(0, 1)
    flags = ("time_major", "return_carry", "reverse", "keep_order", "deterministic")
    WRONG["flag"] = {word: value for word, value in WRONG["reverse"].items() if word != "None"}
    WRONG["batch_mask"] = WRONG["mask"] | {"transposed": np.ones((T, B), bool)}
    WRONG["module"] = {"None": None, "str": "lstm", "zero": 0, "function": jnp.tanh}
    WRONG["rngs"] = {"None": None, "zero": 0, "str": "a", "other": nnx.Rngs(other=0)}
    WRONG["width"] = {word: value for word, value in WRONG["in_features"].items() if word != "scalar"}
    named = dict.fromkeys(flags, "flag")
    called = named | {"initial_carry": "carry", "seq_lengths": "lengths", "mask": "batch_mask", "resets": "batch_mask"}
    called |= {"inputs": "xs"}

    def linen(inputs: Any = xs, **options: Any) -> Any:
        model = jaxrnn.linen.RNN(CELL)
        return model.apply({"params": PARAMS}, inputs, **options)

    yield from tried("linen.RNN", lambda **kw: jaxrnn.linen.RNN(**kw), {"cell": CELL}, named | {"cell": "module"})
    yield from tried("linen.RNN", linen, {}, called)
    plain = jaxrnn.lstm(H, kernel_init=initializers.zeros, recurrent_kernel_init=initializers.zeros)
    model = jaxrnn.nnx.RNN(jaxrnn.zoneout(plain, 0.5), D, rngs=nnx.Rngs(0))
    valid = {"cell": CELL, "in_features": D, "rngs": nnx.Rngs(0)}
    names = named | {"cell": "module", "in_features": "width", "rngs": "rngs"}
    yield from tried("nnx.RNN", jaxrnn.nnx.RNN, valid, names)
    yield from tried("nnx.RNN", lambda inputs=xs, **kw: model(inputs, **kw), {}, called)
    drawing = {"inputs": xs, "deterministic": False}
    yield from tried("nnx.RNN", lambda **kw: model(**kw), drawing, {"rngs": "rngs"})


def frameworks() -> Iterator[Wrong]:
    """Of the readers and writers of other frameworks' weights and carries."""
    weights = {"None": None, "str": "a", "zero": 0, "list": [], "empty": {}, "unknown": {"a": np.ones(3)}}
    WRONG["weights"] = weights | {"text": {"kernel": "a"}}
    WRONG["state"] = WRONG["weights"] | {"one": (CARRY.c,), "narrow": (CARRY.c, CARRY.h[:, :1]), "flat": (ZEROS, ZEROS)}
    WRONG["layer"] = {"None": None, "str": "a", "zero": 0, "function": jnp.tanh}
    layer, of = jaxrnn.rnn(CELL), {"layer": "layer", "params": "weights", "state": "state", "carry": "carry"}
    for name in interop.__all__:
        function = getattr(interop, name)
        parameters = inspect.signature(function).parameters
        first = next(iter(parameters))
        there = {"layer": layer, "params": PARAMS, "state": (CARRY.c[None], CARRY.h[None]), "carry": CARRY}
        if name.startswith("from_"):
            there, of = {first: getattr(interop, f"to_{name[5:]}")(layer, PARAMS)}, of | {first: "weights"}
        valid = {argument: there[argument] for argument in parameters if argument in there}
        for argument in valid:
            for word, value in WRONG[of[argument]].items():
                named = INSIDE.get(word, argument) if name.startswith("from_") else argument
                yield Wrong(name, named, word, partial(function, **valid | {argument: value}))
        for word_of in of_signature(name, function, valid):
            if word_of.argument not in valid and word_of.nonsense != "traced":
                yield word_of
