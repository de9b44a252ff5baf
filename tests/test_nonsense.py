"""Wrong calls of every public function: each gets one line that names the function and the argument.

Every so-many-th of them is tried by default, all with `EVERY_CALL=1 python -m pytest tests/test_nonsense.py`.
"""

import os
import re
from functools import cache

import pytest

from nonsense import Wrong, makers
from nonsense_runs import faces, frameworks, runs, scans

pytestmark = pytest.mark.usefixtures("quick_compilation")

STRIDE = 1 if os.environ.get("EVERY_CALL") else 17

# Wrong calls that are accepted, with the reason.
ACCEPTED = {
    ("nnx.RNN()", "rngs", "*"): "unused where nothing is drawn, as documented",
    ("linen.RNN()", "init_key", "*"): "ignored, as documented: callers of Flax's module pass it",
    ("linear_scan", "method", "other"): "one that it has",
    ("dropout", "xs", "wide"): "any width will do",
    ("dropout", "x", "wide"): "any width will do",
}
ACCEPTED |= {
    ("layer", "num_feature_axes", "zero"): "a layer of token ids",
    ("stepwise", "num_feature_axes", "zero"): "a layer of token ids",
    ("layer", "context", "None"): "none is read",
    ("last", "ys", "empty"): "outputs without features",
    ("last", "ys", "wide"): "any width will do",
    ("step", "resets", "flags"): "one flag for each sequence",
    ("residual", "xs", "wide"): "the line names the model, whose width is another",
    ("residual", "x", "wide"): "the line names the model, whose width is another",
}
ACCEPTED["pool", "xs", "wide"] = "any width will do"
for writing in ("generate", "beam_search", "scheduled_sampling"):
    ACCEPTED[writing, "carry", "None"] = "a model without a state"
for layer in ("conv", "dense", "dropout", "gated_mlp", "layer_norm", "pool", "residual", "rms_norm"):
    ACCEPTED[layer, "x", "flat"] = "a step without batch axes"
    ACCEPTED[layer, "lengths", "scalar"] = "a sequence without batch axes: the layer acts on each step of any shape"
for framework in ("flax", "haiku", "keras", "torch"):
    ACCEPTED[f"carry_to_{framework}", "carry", "other"] = "that of another cell"


@cache
def calls() -> list[Wrong]:
    return [*makers(), *runs(), *scans(), *faces(), *frameworks()]


def verdict(wrong: Wrong) -> str:
    """`clear`, `raw: …` or `silent`."""
    try:
        wrong.call()
    except Exception as error:
        said = str(error)
        ours = isinstance(error, ValueError | TypeError) and re.match(r"[A-Za-z_0-9]+(\.[A-Za-z_0-9]+)?: ", said)
        named = re.search(rf"\b{wrong.argument}\b", said)
        if ours and named and "\n" not in said:
            return "clear"
        return f"raw: {type(error).__name__}: {said[:150]!r}"
    return "silent"


def reason(wrong: Wrong) -> str | None:
    """Why a wrong call may be accepted."""
    where = wrong.function, wrong.argument
    return ACCEPTED.get((*where, wrong.nonsense), ACCEPTED.get((*where, "*")))


def failures(wrongs: list[Wrong]) -> list[tuple[str, str]]:
    """The calls whose outcome is not clear, with what it was."""
    found = [(f"{w.function}({w.argument}={w.nonsense})", verdict(w)) for w in wrongs if reason(w) is None]
    return [(call, said) for call, said in found if said != "clear"]


def test_nonsense_gets_one_clear_line():
    assert failures(calls()[::STRIDE]) == []


def test_there_are_enough_of_them():
    assert len(calls()) >= 8000
