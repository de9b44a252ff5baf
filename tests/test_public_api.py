"""What the package exports, and that each name says what it takes, gives and raises."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Unpack, get_args, get_origin, get_type_hints, is_typeddict

import pytest

import jaxrnn

NAMES = [
    "AttendingCarry",
    "BegunCarry",
    "BidirectionalCarry",
    "CausalConvCarry",
    "Cell",
    "CellOptions",
    "ComplexCarry",
    "DTypeOptions",
    "Flow",
    "HiddenCarry",
    "KernelOptions",
    "LSTMCarry",
    "Layer",
    "LinearOptions",
    "LocalAttentionCarry",
    "MLSTMCarry",
    "MatrixCarry",
    "MatrixOptions",
    "Memory",
    "Noise",
    "ShapeError",
    "SkipCarry",
    "Steps",
    "act",
    "attending",
    "attention",
    "beam_search",
    "bidirectional",
    "causal_conv",
    "conv",
    "dense",
    "diagnose",
    "dropout",
    "embedding",
    "fold",
    "gated_mlp",
    "generate",
    "griffin",
    "griffin_block",
    "heads",
    "init_attention",
    "initial_carry",
    "initializers",
    "interop",
    "last",
    "layer",
    "layer_norm",
    "learned_carry",
    "linear_cell",
    "linear_scan",
    "linen",
    "local_attention",
    "mamba_block",
    "matrix_block",
    "matrix_cell",
    "matrix_scan",
    "methods",
    "mlstm_block",
    "nnx",
    "pointwise_cell",
    "pool",
    "recurrent_dropout",
    "residual",
    "rms_norm",
    "rnn",
    "roles",
    "scheduled_sampling",
    "sharding_of",
    "skip",
    "stack",
    "step",
    "step_cell",
    "stepwise",
    "tasks",
    "tune_cpu_allocator",
    "unroll",
    "unroll_with_aux",
    "wavefront",
    "weight_dropout",
    "weight_norm",
    "with_carry",
    "zoneout",
]


def functions(module):
    """The public functions that a module defines."""
    own = vars(module).items()
    return [f for name, f in own if inspect.isfunction(f) and f.__module__ == module.__name__ and name[0] != "_"]


def returns_a_cell(function):
    return function.__annotations__.get("return") is jaxrnn.Cell


EXPORTED = [getattr(jaxrnn, name) for name in jaxrnn.__all__]
READERS = [getattr(jaxrnn.interop, name) for name in jaxrnn.interop.__all__]
DIAGNOSTICS = [getattr(jaxrnn.diagnose, name) for name in jaxrnn.diagnose.__all__]
TASKS = [getattr(jaxrnn.tasks, name) for name in jaxrnn.tasks.__all__]
FUNCTIONS = [f for f in [*EXPORTED, *DIAGNOSTICS] if inspect.isfunction(f)]
FUNCTIONS += functions(jaxrnn.initializers) + READERS + TASKS
RECORDS = [c for c in [*EXPORTED, *DIAGNOSTICS] if inspect.isclass(c) and hasattr(c, "_fields")]
OPTIONS = [c for c in EXPORTED if is_typeddict(c)]
FACES = [jaxrnn.linen.RNN, jaxrnn.nnx.RNN]

every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__qualname__)


def section(documented, title):
    """The names that a section of a docstring explains, in order: its lines `name: …`."""
    text = inspect.getdoc(documented) or ""
    found = re.search(rf"^{title}:\n((?:  .*\n?|\n)*)", text, re.MULTILINE)
    return re.findall(r"^  (\*{0,2}\w+): ", found[1], re.MULTILINE) if found else []


def has(documented, title):
    return re.search(rf"^{title}:$", inspect.getdoc(documented) or "", re.MULTILINE) is not None


def parameters(function):
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    written = inspect.signature(inspect.unwrap(function))
    return [stars.get(p.kind, "") + p.name for p in written.parameters.values()]


def test_exports_are_those_intended_and_in_order():
    assert sorted(jaxrnn.__all__) == sorted([*NAMES, *jaxrnn.cells.__all__])
    assert jaxrnn.cells.__all__ == sorted(jaxrnn.cells.__all__)


def test_no_other_public_name_leaks():
    """Submodules aside, which Python itself adds."""
    own = {name for name, value in vars(jaxrnn).items() if name[0] != "_" and not inspect.ismodule(value)}
    assert own - set(jaxrnn.__all__) <= {"ModuleType", "TYPE_CHECKING"}


def test_every_cell_is_in_the_list_of_cells():
    """Each file in `jaxrnn/cells` has a public function that returns a `Cell`, and all of these are in the list."""
    for path in Path(jaxrnn.cells.__file__).parent.glob("[!_]*.py"):
        made = [f for f in functions(importlib.import_module(f"jaxrnn.cells.{path.stem}")) if returns_a_cell(f)]
        assert made, f"{path.name} has no constructor"
        missing = [f.__name__ for f in made if jaxrnn.cells.CONSTRUCTORS.get(f.__name__) is not f]
        assert missing == [], f"{path.name}: add {missing} to jaxrnn/cells/__init__.py"


def test_functions_are_not_hidden_by_modules_of_their_name():
    for name in ("unroll", "bidirectional", "dense", "dropout", "layer_norm", "residual", "rnn", "stack"):
        assert inspect.isfunction(getattr(jaxrnn, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lsmt'"):
        _ = jaxrnn.lsmt


def test_import_leaves_frameworks_out():
    script = "import sys, jaxrnn; sys.exit(bool({'flax', 'haiku', 'keras', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@every_function
def test_a_function_documents_its_parameters_and_result(function):
    summary = (inspect.getdoc(function) or "").split("\n")[0]
    assert summary.endswith(".") or summary.endswith(":"), summary
    assert section(function, "Args") == parameters(function)
    assert has(function, "Returns")


@every_function
def test_options_are_documented_once_and_shown_in_the_signature(function):
    """Each entry of `**options: Unpack[…]` is an argument by name, with the default that the cell's docstring names."""
    written, shown = inspect.signature(inspect.unwrap(function)), inspect.signature(function)
    unpacked = [get_args(p.annotation)[0] for p in written.parameters.values() if get_origin(p.annotation) is Unpack]
    names = [name for options in unpacked for name in get_type_hints(options)]
    assert list(shown.parameters) == [name for name in written.parameters if name != "options"] + names
    for options in unpacked:
        assert f"**options: see `{options.__name__}`" in function.__doc__


@pytest.mark.parametrize("options", OPTIONS, ids=lambda c: c.__name__)
def test_options_document_their_own_entries(options):
    inherited = {name for base in OPTIONS for name in get_type_hints(base) if base is not options}
    own = [name for name in get_type_hints(options) if name in section(options, "Attributes")]
    assert own == section(options, "Attributes")
    assert set(get_type_hints(options)) <= inherited | set(own)


@every_function
def test_a_function_shows_an_example_that_pytest_runs(function):
    assert has(function, "Example")
    assert ">>> " in function.__doc__.split("Example:")[1]


@every_function
def test_a_function_annotates_all_that_it_takes_and_gives(function):
    assert set(function.__annotations__) == {name.lstrip("*") for name in parameters(function)} | {"return"}


@pytest.mark.parametrize("record", RECORDS, ids=lambda c: c.__name__)
def test_a_record_documents_its_fields(record):
    explained = section(record, "Attributes") or re.findall(r"`(\w+) \[", record.__doc__)
    assert explained == list(record._fields)


@pytest.mark.parametrize("face", FACES, ids=["linen", "nnx"])
def test_a_face_has_an_example(face):
    assert ">>> " in face.__doc__
