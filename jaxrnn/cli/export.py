"""`python -m jaxrnn export` stores the model of a run as programs that run without jaxrnn."""

import io
import json
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxrnn.cli import checkpoint
from jaxrnn.cli.load import load
from jaxrnn.types import Array, Layer, Params
from jaxrnn.unroll import step, unroll

MODEL = "model.zip"  # in the directory of the run, unless --file names another
PLATFORMS = ("cpu", "cuda", "tpu")


def exported(args: Namespace) -> None:
    """Writes the programs of a model, its parameters and its vocabulary into one file.

    Args:
      args: `out`, the directory of the run; `best`, whether to take its best checkpoint; `file`, None: `model.zip` in
        that directory; `platforms`, for which the programs are made.

    Raises:
      Problem: something that the user can put right.
    """
    model, params, vocabulary = load(args.out, best=args.best)
    path: Path = args.out / MODEL if args.file is None else args.file
    platforms = list(dict.fromkeys(args.platforms))
    about = {"vocabulary": vocabulary, "platforms": platforms, "jax": jax.__version__}
    data = archive(programs(model, params, platforms), named(params), about)
    checkpoint.write(path, data, remedy="free space, or choose another --file")
    print(f"{path}: {len(data) / 1024:,.0f} KiB, for {', '.join(platforms)}")
    print("jax.export reads it in a process that need not have jaxrnn, as the page Export of the guide shows")


def named(params: Params) -> dict[str, Array]:
    """Returns parameters in a flat dict, under names such as `layer_1/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def programs(model: Layer, params: Params, platforms: list[str]) -> dict[str, bytes]:
    """Returns the two programs of a model, for any length of text and any batch.

    Carries are lists of arrays, because a process without jaxrnn does not know its records.

    Returns:
      `"read"`, of `(params, characters [T, B]) -> (carry, logits [B, V])`, which begins a text and returns the logits
      after its last character, and `"step"`, of `(params, carry, characters [B]) -> (carry, logits [B, V])`.
    """
    structure, flat = jax.tree.structure(params), named(params)

    def whole(flat: dict[str, Array]) -> Params:
        return jax.tree.unflatten(structure, [flat[name] for name in names])

    def read(flat: dict[str, Array], characters: Array) -> tuple[list[Array], Array]:
        carry, logits = unroll(model, whole(flat), characters)
        return jax.tree.leaves(carry), logits[-1]

    def advance(flat: dict[str, Array], carry: list[Array], characters: Array) -> tuple[list[Array], Array]:
        after, logits = step(model, whole(flat), jax.tree.unflatten(of_carry, carry), characters)
        return jax.tree.leaves(after), logits

    names = list(flat)
    total, batch = export.symbolic_shape("t, b")
    text = jax.ShapeDtypeStruct((total, batch), jnp.int32)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), flat)
    of_carry = jax.tree.structure(jax.eval_shape(lambda: model.init_carry(params, (1,))))
    carry, _ = jax.eval_shape(read, shapes, text)

    def stored(program: Any, *arguments: Any) -> bytes:
        made = export.export(jax.jit(program), platforms=platforms)(shapes, *arguments)
        return bytes(made.serialize())

    return {"read": stored(read, text), "step": stored(advance, carry, jax.ShapeDtypeStruct((batch,), jnp.int32))}


def archive(programs: dict[str, bytes], flat: dict[str, Array], about: dict[str, Any]) -> bytes:
    """Returns a zip file of the programs, `parameters.npz` and `about.json`."""
    parameters, file = io.BytesIO(), io.BytesIO()
    np.savez(parameters, **jax.device_get(flat))
    entries = {**programs, "parameters.npz": parameters.getvalue(), "about.json": json.dumps(about).encode()}
    with zipfile.ZipFile(file, "w") as zipped:
        for name, data in entries.items():
            zipped.writestr(name, data)
    return file.getvalue()
