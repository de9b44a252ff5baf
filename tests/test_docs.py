"""README.md and CONTRIBUTING.md are true: their code prints what they promise, and CI runs their command."""

import contextlib
import importlib
import io
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import jaxrnn
from benchmarks import report
from jaxrnn.__main__ import parser
from jaxrnn.cli.run import OUTPUTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxrnn"
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
every_document = pytest.mark.parametrize("document", DOCUMENTS)


def text(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text(document), re.MULTILINE | re.DOTALL)


def commands(ending):
    return [line for block in blocks("README.md", "sh") for line in block.splitlines() if line.endswith(ending)]


@every_document
def test_code_prints_what_the_comments_beside_it_say(document):
    source = "\n".join(blocks(document, "python"))
    promised = re.findall(r"^print\(.*\)  # (.*)$", source, re.MULTILINE)
    assert promised and len(promised) == len(re.findall(r"^ *print\(", source, re.MULTILINE))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(source, document, "exec"), {"__name__": "document"})
    assert said.getvalue().splitlines() == promised


@every_document
def test_links_and_paths_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", text(document))
    paths = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text(document))
    for name in [*links, *paths]:
        file, _, anchor = name.partition("#")
        assert (ROOT / file).exists() or (PACKAGE / file).exists(), name
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text(file), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]


@every_document
def test_names_exist(document):
    names = set(re.findall(r"\bjaxrnn((?:\.[a-zA-Z_]\w*)+)", "\n".join(re.findall(r"`[^`\n]+`", text(document)))))
    assert names
    for name in names:
        found = jaxrnn
        for part in name[1:].split("."):
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)


def test_readme_names_all_that_is_public():
    assert [name for name in jaxrnn.__all__ if not re.search(rf"\b{name}\b", text("README.md"))] == []


def test_readme_lists_every_notebook():
    listed = re.findall(r"\]\((notebooks/[^)]+)\)", text("README.md"))
    assert listed == sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("notebooks/*.ipynb"))


def test_readme_has_a_place_for_benchmarks():
    assert f"{report.BEGIN}\nfigures\n{report.END}" in report.rewrite(text("README.md"), "figures")


def test_readme_describes_the_command_line():
    flags = {flag for action in parser()._actions for flag in action.option_strings}
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
    assert called[: len(readme)] == readme
    assert {"ruff check", "ruff format --check", "mypy"} <= {call.strip() for call in called[len(readme) :]}


STEPS = [
    "python3 -m venv .venv",
    "python3 -m venv .accelerators",
    "pip install -e",
    "python -m pytest",
    "ruff check",
    "ruff format --check",
    "mypy",
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
