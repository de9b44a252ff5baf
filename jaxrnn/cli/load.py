"""`load` reads the model of a run from its checkpoint, without its text."""

import os
from pathlib import Path

import jax

from jaxrnn.cli import checkpoint
from jaxrnn.cli.model import from_settings
from jaxrnn.cli.problem import Problem
from jaxrnn.cli.saved import Saved, read
from jaxrnn.types import Layer, Params


def load(run: str | os.PathLike[str], *, best: bool = False) -> tuple[Layer, Params, str]:
    """Returns the model of a run of `python -m jaxrnn`.

    Args:
      run: the directory of the run.
      best: whether to return the parameters of the record with the best held-out figure; False: the last ones.

    Returns:
      `(model, params, vocabulary)`. The model reads characters as indices into the vocabulary, a str, int
      `[T, *batch]`, and returns the logits of the next characters, `[T, *batch, len(vocabulary)]`.

    Raises:
      Problem: the directory has no checkpoint of a run, or one that is damaged.
    """
    path = checkpoint.within(Path(run), best=best)
    return restored(path, read(path))


def restored(path: Path, saved: Saved) -> tuple[Layer, Params, str]:
    """Returns `(model, params, vocabulary)` of a checkpoint that was read from `path`."""
    size = len(saved.vocabulary)
    model = from_settings(saved.settings, size)
    like = jax.eval_shape(lambda key: model.init(key, None), jax.random.key(0))
    found = saved.state.get("params") if isinstance(saved.state, dict) else None
    params = checkpoint.restore(path, like, found)
    if not checkpoint.finite(params):
        raise Problem(f"{path}: {checkpoint.NOT_FINITE}")
    return model, jax.device_put(params), saved.vocabulary
