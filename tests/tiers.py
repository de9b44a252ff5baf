"""Two tiers of tests: the default one, and with `--every` all tests.

By default tests marked `every` are left out, and of a test marked `sampled` two cases in three: such tests repeat one
claim over many cases, in minutes. So are two of three examples in docstrings.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import pytest

LEFT = pytest.StashKey[int]()  # how many cases the default tier leaves out


def tiered(cases: Iterable[Any], default: Collection[Any]) -> list[Any]:
    """`cases` for `parametrize`: those in `default`, or whose first value is, always run, the others with `--every`."""
    params = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        params.append(pytest.param(*values, marks=() if values[0] in default else pytest.mark.every))
    return params


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every", action="store_true", help="also run the cases that others stand for by default")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every: run with --every alone, for by default other tests stand for this one")
    config.addinivalue_line("markers", "sampled: without --every, the first case of three and no other is run")
    config.stash[LEFT] = 0


def pytest_report_header(config: pytest.Config) -> str:
    return "tier: " + ("every case" if config.getoption("every") else "the default one; --every runs every case")


@pytest.hookimpl(trylast=True)  # of what -k and -m leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("every"):
        return
    seen: Counter[str] = Counter()
    kept, left = [], []
    for item in items:
        example = isinstance(item, pytest.DoctestItem)
        test = "" if example else item.nodeid.split("[")[0]
        sampled = (example or item.get_closest_marker("sampled") is not None) and seen[test] % 3 > 0
        (left if sampled or item.get_closest_marker("every") is not None else kept).append(item)
        seen[test] += 1
    config.stash[LEFT] = len(left)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = session.config.stash[LEFT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT] = getattr(node, "workeroutput", {}).get("left", 0)  # every worker collects all tests


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[LEFT]:
        terminalreporter.write_line(f"{config.stash[LEFT]:,} cases are left to --every; others stand for them")
