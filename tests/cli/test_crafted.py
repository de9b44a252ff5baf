"""A checkpoint with a right digest and wrong contents, which anyone can make, gets one line from every command."""

import copy
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import msgpack
import numpy as np
import pytest
from flax import serialization

from jaxrnn.__main__ import main
from jaxrnn.cli import checkpoint

TEXT = "pack my box with five dozen liquor jugs\n" * 5
TINY = "--cell elman --hidden 2 --steps 2 --window 3 --batch 2"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, quick_compilation: None) -> Path:
    """The directory of a finished run."""
    directory = tmp_path_factory.mktemp("finished")
    (directory / "text").write_text(TEXT)
    assert main([*TINY.split(), "--text", f"{directory}/text", "--out", f"{directory}/run"]) == 0
    return directory / "run"


def sealed(payload: bytes) -> bytes:
    """What `checkpoint.load` takes for a file of its own."""
    return checkpoint.MAGIC + hashlib.sha256(payload).digest() + payload


def array(*parts: Any) -> bytes:
    """A state that Flax decodes as an array of this shape, dtype and buffer."""
    return msgpack.packb({"state": msgpack.ExtType(1, msgpack.packb(parts))})


UNREADABLE = {
    "a byte that msgpack does not know": b"\xc1",
    "nothing": b"",
    "two values": b"\x80\x80",
    "a list": msgpack.packb([1, 2]),
    "an array of objects": array([1], "object", bytes(8)),
    "an array that is larger than its numbers": array([2**40], "float32", bytes(4)),
    "a type that is none": array([1], "float31", bytes(4)),
    "lists in lists": b"\x91" * 3000 + b"\x90",
    "lists that claim to be long": b"\xdd\x00\x00\xff\xff" * 500 + bytes(2**16),
    "chunks without a shape": msgpack.packb({"__msgpack_chunked_array__": True}),
}


def refused(
    directory: Path, data: bytes, said: str, capsys: pytest.CaptureFixture[str], command: Sequence[str] = ("--resume",)
) -> None:
    """The command line says this in one line about a checkpoint, writes nothing, and fails."""
    directory.mkdir(exist_ok=True)
    path = directory / "checkpoint"
    path.write_bytes(data)
    assert main([*command, "--out", str(directory)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"jaxrnn: [^\n]*{said}[^\n]*\n", err), err
    assert err.rstrip("\n").isprintable()
    assert list(directory.iterdir()) == [path] and path.read_bytes() == data


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_no_run_has_written_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(tmp_path, sealed(UNREADABLE[name]), "has a right digest but contents that jaxrnn did not write", capsys)


def test_a_checkpoint_that_is_no_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    assert main(["--resume", "--out", str(tmp_path)]) == 2
    assert re.fullmatch(r"jaxrnn: \S+checkpoint: is not a regular file; [^\n]*\n", capsys.readouterr().err)


def first_line(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes what the metrics say of the run as a whole."""
    return lambda saved: saved.update(metrics=edited(saved["metrics"], 0, values))


def record(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes the last record of the metrics."""
    return lambda saved: saved.update(metrics=edited(saved["metrics"], -1, values))


def edited(metrics: str, line: int, values: dict[str, Any]) -> str:
    lines = [json.loads(line) for line in metrics.splitlines()]
    lines[line].update(values)
    return "".join(json.dumps(line) + "\n" for line in lines)


def setting(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved["settings"].update({name: value})


def settled(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes settings, and what the metrics say of them."""

    def spoil(saved: dict[str, Any]) -> None:
        saved["settings"].update(values)
        first_line(settings=saved["settings"])(saved)

    return spoil


def value(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved.update({name: value})


def scaled(saved: dict[str, Any], by: float) -> None:
    saved["state"]["params"] = jax.tree.map(lambda leaf: leaf * np.float32(by), saved["state"]["params"])


def counted(saved: dict[str, Any]) -> None:
    """Says in the state of Adam that there were other updates."""
    saved["state"]["optimizer"]["1"]["0"]["count"] = np.array(9, np.int32)


def nested(depth: int) -> dict[str, Any]:
    return {} if depth == 0 else {"params": nested(depth - 1)}


OTHER_MODEL = "holds another model than its settings make"
# What is wrong, how it is made so, and what is said of it.
WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "settings a list": (value("settings", [1]), r"settings is \[1\], expected a dict"),
    "setting unknown": (setting("speed", 1), r"settings lacks or does not know \['speed'\], expected cell, layers"),
    "cell unknown": (setting("cell", "lstn"), "cell is 'lstn', expected a cell of jaxrnn"),
    "cell a list": (setting("cell", ["lstm"]), "cell is .*, expected a cell of jaxrnn"),
    "cell another": (settled(cell="gru"), OTHER_MODEL),
    "layers too many": (setting("layers", 65), "layers is 65, expected a whole number from 1 to 64"),
    "hidden huge": (setting("hidden", 10**9), "hidden is 1000000000, expected a whole number from 1 to 65536"),
    "hidden large": (settled(hidden=65536), OTHER_MODEL),
    "a model that takes hours to make": (settled(cell="s5", hidden=65536), OTHER_MODEL),
    "hidden an array": (setting("hidden", np.arange(2000)), r"hidden is array\(.{,40}\), expected a whole number"),
    "steps a str": (setting("steps", "2"), "steps is '2', expected a whole number"),
    "steps a float": (setting("steps", 2.0), "steps is 2.0, expected a whole number"),
    "window too long": (settled(window=10**6), "leaves 180 characters to train on, expected more than 2,000,000"),
    "batch true": (setting("batch", True), "batch is True, expected a whole number"),
    "rate not a number": (setting("learning_rate", float("nan")), "learning_rate is nan, expected a positive number"),
    "rate another": (setting("learning_rate", 0.5), "settings in metrics is .*, expected those of the run"),
    "seed negative": (setting("seed", -1), "seed is -1, expected a whole number from 0"),
    "dropout of all": (setting("dropout", 1.0), "dropout is 1.0, expected None or a number from 0 to below 1"),
    "dropout a str": (setting("dropout", "0.5"), "dropout is '0.5', expected None or a number"),
    "schedule unknown": (setting("schedule", "steps"), "schedule is 'steps', expected one of cosine, linear, constant"),
    "schedule an array": (setting("schedule", np.arange(2)), r"schedule is array\(.*, expected one of cosine"),
    "valid a number": (value("valid", 5), "valid is 5, expected a path or None"),
    "valid without a hash": (value("valid", "text"), "valid_sha256 is None, expected a str"),
    "valid in the metrics": (first_line(valid=[]), r"valid is \[\], expected a str or None"),
    "hash of no text": (value("valid_sha256", "0"), "was trained on another text"),
    "source a number": (value("source", 5), "source is 5, expected a path or None"),
    "source too long": (value("source", "a" * 5000), "its text a{5000} is no file here; name its text with --text"),
    "source endless": (value("source", "/dev/zero"), "its text /dev/zero is no file here; name its text with --text"),
    "source in colour": (
        value("source", "\x1b[31mred\u202e\nline"),
        "its text \ufffd\\[31mred\ufffd line is no file here",
    ),
    "hash a list": (value("sha256", []), r"sha256 is \[\], expected a str"),
    "hash another": (value("sha256", "0" * 64), "was trained on another text"),
    "vocabulary another": (value("vocabulary", "abc"), "was trained on another text"),
    "vocabulary empty": (value("vocabulary", ""), "vocabulary is '', expected different characters in order"),
    "vocabulary in disorder": (value("vocabulary", "\x1b[2J"), "vocabulary is .*, expected different characters in"),
    "vocabulary a list": (value("vocabulary", ["a"]), r"vocabulary is \['a'\], expected different characters in order"),
    "step negative": (value("step", -5), "step is -5, expected a whole number from 0 to 2"),
    "step beyond the end": (value("step", 3), "step is 3, expected a whole number from 0 to 2"),
    "seconds infinite": (value("seconds", float("inf")), "seconds is inf, expected a finite number"),
    "losses a str": (value("losses", "12"), "losses is '12', expected 0 finite numbers, one per step"),
    "losses too many": (value("losses", [1.0]), r"losses is \[1.0\], expected 0 finite numbers, one per step"),
    "metrics None": (value("metrics", None), "metrics is not the text of a metrics.jsonl"),
    "metrics empty": (value("metrics", ""), "metrics is not the text of a metrics.jsonl"),
    "metrics cut": (value("metrics", "{"), "metrics is not the text of a metrics.jsonl"),
    "metrics deep": (value("metrics", "[" * 10**5), "metrics is not the text of a metrics.jsonl"),
    "metrics a number": (value("metrics", "1\n"), "the first line of metrics is 1, expected a dict"),
    "no records": (
        lambda s: (s.update(metrics=s["metrics"].split("\n")[0], step=1), setting("steps", 3)(s), settled()(s)),
        "losses is .*, expected 1 finite numbers",
    ),
    "no last record": (
        lambda s: s.update(metrics=s["metrics"].split("\n")[0], losses=[1.0, 1.0]),
        "the last record is 0, expected one of step 2, the last of the run",
    ),
    "text a number": (first_line(text=1), "text is 1, expected a str"),
    "characters others": (first_line(characters=5), "characters in the first line of its metrics is not 200"),
    "parameters others": (first_line(parameters="\x1b[2J"), "parameters in the first line of its metrics is not"),
    "n-grams too few": (first_line(n_gram_bits=[1.0]), r"n_gram_bits is \[1.0\], expected 5 finite numbers"),
    "record of a str": (record(loss="\x1b[2J"), "a line of metrics is .*, expected finite numbers"),
    "record not finite": (record(bits=float("nan")), "a line of metrics is .*, expected finite numbers"),
    "record too large": (record(seconds=10**400), "a line of metrics is .*, expected finite numbers"),
    "record out of turn": (record(step=1), "the step of a record is 1, expected one after another"),
    "updates too many": (counted, "its optimizer has made 9 updates, expected 2"),
    "state a str": (value("state", "abc"), OTHER_MODEL),
    "state a number": (value("state", 1), OTHER_MODEL),
    "state deep": (value("state", nested(300)), OTHER_MODEL),
    "state of lists": (lambda s: s["state"]["params"]["layer_1"].update(bias=[[0.0, 0.0]]), OTHER_MODEL),
    "state of doubles": (
        lambda s: s["state"].update(params=jax.tree.map(np.float64, s["state"]["params"])),
        OTHER_MODEL,
    ),
    "state with more": (lambda s: s["state"]["params"].update(more=np.zeros(1)), OTHER_MODEL),
    "state of NaN": (lambda s: scaled(s, np.nan), "holds parameters that are not finite"),
    "state of infinities": (lambda s: scaled(s, np.inf), "holds parameters that are not finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_contents_get_one_line(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, said = WRONG[name]
    saved = copy.deepcopy(checkpoint.load(finished / "checkpoint"))
    spoil(saved)
    refused(tmp_path, sealed(serialization.msgpack_serialize(saved)), said, capsys)


# What concerns whoever reads a run without its text, and what is said of it.
READ = {name: WRONG[name] for name in ("settings a list", "hidden large", "vocabulary empty", "metrics cut")} | {
    "vocabulary another": (value("vocabulary", "abc"), OTHER_MODEL),
    **{name: case for name, case in WRONG.items() if name.startswith("state")},
}


@pytest.mark.parametrize("command", ["sample", "eval"])
@pytest.mark.parametrize("name", READ)
def test_wrong_contents_get_one_line_from_readers(
    name: str, command: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, said = READ[name]
    saved = copy.deepcopy(checkpoint.load(finished / "checkpoint"))
    spoil(saved)
    refused(tmp_path, sealed(serialization.msgpack_serialize(saved)), said, capsys, [command])


def test_no_entry_can_be_missing(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = checkpoint.load(finished / "checkpoint")
    places = [(saved, "what it holds"), (saved["settings"], "settings")]
    for holder, place in places:
        for name in [*holder]:
            kept = holder.pop(name)
            said = rf"{place} lacks or does not know \['{name}'\]"
            refused(tmp_path, sealed(serialization.msgpack_serialize(saved)), said, capsys)
            holder[name] = kept


def test_restored_text_cannot_command_the_terminal(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = checkpoint.load(finished / "checkpoint")
    first_line(text="\x1b[31mred\x1b]0;title\x07")(saved)
    (tmp_path / "checkpoint").write_bytes(sealed(serialization.msgpack_serialize(saved)))
    assert main(["--resume", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "text      \ufffd[31mred\ufffd]0;title\ufffd: 200 characters" in out
    assert all(c.isprintable() or c in "\n\t" for c in out + err)
