"""The documents are true: their code prints what they promise, links lead somewhere, CI runs the command."""

import contextlib
import importlib
import io
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

import jaxrnn
from benchmarks import report
from docs import cells
from jaxrnn.__main__ import main
from jaxrnn.cli.flags import parsers
from jaxrnn.cli.folder import OUTPUTS
from tiers import tiered

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxrnn"
GUIDE = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", *GUIDE]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESSES = PROJECT["tool"]["readme"]
every_document = pytest.mark.parametrize("document", DOCUMENTS)
pytestmark = pytest.mark.usefixtures("quick_compilation")


def text(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text(document), re.MULTILINE | re.DOTALL)


def commands(ending):
    return [line for block in blocks("README.md", "sh") for line in block.splitlines() if line.endswith(ending)]


def links(document):
    """All that a document links to, but for the addresses within code."""
    prose = re.sub(r"^```.*?^```$", "", text(document), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"^\[[\w-]+\]: (\S+)$", prose, re.MULTILINE)


LONG = {"docs/layers.md", "docs/training.md", "docs/decoding.md", "docs/gradients.md"}
CODE = [name for name in DOCUMENTS if blocks(name, "python")]


@pytest.mark.sampled
@pytest.mark.parametrize("document", tiered(CODE, set(CODE) - LONG))
def test_code_prints_what_the_comments_beside_it_say(document, tmp_path, monkeypatch):
    source = "\n".join(blocks(document, "python"))
    monkeypatch.chdir(tmp_path)
    if 'load("run")' in source:  # which the main job has left
        assert main(["--cell", "elman", "--hidden", "4", "--steps", "1", "--window", "4", "--batch", "2"]) == 0
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", source, re.MULTILINE)
    assert promised and len(promised) == len(re.findall(r"^ *print\(", source, re.MULTILINE))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(source, document, "exec"), {"__name__": "document"})
    assert said.getvalue().splitlines() == promised


@every_document
def test_links_and_paths_lead_somewhere(document):
    paths = [PACKAGE / name for name in re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text(document))]
    assert [path for path in paths if not path.exists() and not (ROOT / path.relative_to(PACKAGE)).exists()] == []
    for link in links(document):
        for address in ADDRESSES.values():
            if link.startswith(address):
                link = os.path.relpath(ROOT / link.removeprefix(address), (ROOT / document).parent)
        if link.startswith("https://"):
            assert not link.startswith(PROJECT["project"]["urls"]["Homepage"]), f"{link} is no file of the checkout"
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / document).parent / file if file else ROOT / document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings], link


def test_readme_can_be_shown_anywhere():
    assert [link for link in links("README.md") if not link.startswith(("https://", "#"))] == []


def test_all_addresses_begin_with_that_of_the_home():
    urls = PROJECT["project"]["urls"]
    assert all(url.startswith(urls["Homepage"]) for url in [*urls.values(), ADDRESSES["files"]])
    inside = [url.removeprefix(ADDRESSES["files"]) for url in urls.values() if url.startswith(ADDRESSES["files"])]
    assert len(inside) == 2 and all((ROOT / name).exists() for name in inside)


def test_readme_is_short():
    assert len(text("README.md").splitlines()) <= 250 and len(text("README.md").encode()) <= 15_000


@every_document
def test_names_exist(document):
    names = set(re.findall(r"\bjaxrnn((?:\.[a-zA-Z_]\w*)+)", "\n".join(re.findall(r"`[^`\n]+`", text(document)))))
    for name in names:
        found = jaxrnn
        for part in name[1:].split("."):
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)


def test_the_guide_has_every_page():
    assert {f"docs/{link}" for link in links("docs/README.md")} >= set(GUIDE) - {"docs/README.md"}


def test_the_guide_names_every_function():
    pages = "\n".join(text(document) for document in ["README.md", *GUIDE])
    public = [name for name in jaxrnn.__all__ if name.islower() and not name.endswith("_cell")]  # makers: CONTRIBUTING
    assert [name for name in public if not re.search(rf"\b{name}\b", pages)] == []


def test_the_page_of_all_cells_is_what_the_package_says():
    assert text("docs/cells.md") == cells.page()
    (families,) = re.findall(r"^\| family .*?\n\n", text("README.md"), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", families)) <= {it.name for it in cells.registry()}


def test_readme_lists_every_notebook():
    listed = [link.removeprefix(ADDRESSES["files"]) for link in links("README.md") if link.endswith(".ipynb")]
    written = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("notebooks/*.ipynb")]
    assert listed == sorted(written, key=lambda path: int(path.removeprefix("notebooks/").split("_")[0]))


@pytest.mark.parametrize("document", ["README.md", "benchmarks/README.md"])
def test_there_is_a_place_for_benchmarks(document):
    assert f"{report.BEGIN}\nfigures\n{report.END}" in report.rewrite(text(document), "figures")


def test_readme_describes_the_command_line():
    actions = [action for parser in parsers().values() for action in parser._actions]
    flags = {flag for action in actions for flag in action.option_strings}
    assert set(re.findall(r"`(--[\w-]+)", text("README.md"))) <= flags
    assert all(f"`{name}`" in text("README.md") for name in OUTPUTS)


def test_contributing_has_every_module_in_its_floors():
    floors = blocks("CONTRIBUTING.md", "text")[0]
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    named = [path.parts[0] if path.parts[0] == "cli" else path.stem for path in modules]
    assert [name for name in named if not re.search(rf"\b{name}\b", floors)] == []


# A command that stands in for every tool: it writes down how it was called, and fails on request.
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$(basename "$0") $*" in "$FAILING"*) exit 7 ;; esac
case "$*" in "-m venv "*) ;; *) exit 0 ;; esac
mkdir -p "$3/bin" && for tool in pip python ruff mypy; do cp "$0" "$3/bin/$tool"; done
"""


@pytest.fixture
def ci(tmp_path):
    """Runs `.ci/run` in a small checkout, where `python3` is the stand-in; gives its result and what it called."""
    checkout, tools, scratch, log = (tmp_path / name for name in ("checkout", "tools", "scratch", "log"))
    for folder in (checkout / ".ci", tools, scratch):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    shutil.copy(ROOT / "README.md", checkout)
    (tools / "python3").write_text(STAND_IN)
    (tools / "python3").chmod(0o755)

    def run(failing="nothing"):
        log.write_text("")
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(scratch), "LOG": str(log)}
        result = subprocess.run(
            ["bash", ".ci/run"],
            cwd=checkout,
            env=environment | {"FAILING": failing},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(scratch.iterdir()) == [], "the temporary directory is still there"
        assert sorted(path.name for path in checkout.iterdir()) == [".ci", "README.md"], "the checkout has changed"
        return result, log.read_text().splitlines()

    return run


def test_ci_runs_the_command_of_the_readme_and_then_the_checks(ci):
    result, called = ci()
    assert result.returncode == 0, result.stderr
    (command,) = commands("-m pytest")
    readme = [re.sub(r"^\.venv/bin/", "", part).replace('"', "") for part in command.split(" && ")]
    assert called[: len(readme)] == [*readme[:-1], f"{readme[-1]} --every"]
    assert {"ruff check", "ruff format --check", "mypy"} <= {call.strip() for call in called[len(readme) :]}
    assert any(call.startswith("python -m docs.build") for call in called)


STEPS = [
    "python3 -m venv .venv",
    "python3 -m venv .accelerators",
    "pip install -e",
    "python -m pytest",
    "ruff check",
    "ruff format --check",
    "mypy",
    "pip install --quiet -e .[docs]",
    "python -m docs.build",
    "python -m pytest -n0 tests/test_accelerators.py",
]
WHEEL = ["pip install --quiet --no-deps --force-reinstall .", "python -m jaxrnn"]


@pytest.mark.parametrize("failing", [*STEPS, *WHEEL])
def test_ci_fails_if_any_step_does(ci, failing):
    result, called = ci(failing)
    assert result.returncode != 0
    assert any(call.startswith(failing) for call in called)


def test_ci_can_be_executed():
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


def test_readme_has_both_commands_with_all_their_set_up():
    (tests,), (job,) = commands("-m pytest"), commands("-m jaxrnn")
    for command, extra in ((tests, '".[test]"'), (job, '".[cli]"')):
        assert command.startswith(f"python3 -m venv .venv && .venv/bin/pip install -e {extra} && .venv/bin/python -m ")
