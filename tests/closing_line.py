"""The last line of every test run: what passed, what was skipped and why, and what was not the real thing.

    moorage tests: 212 passed, 3 skipped: "no CUDA device" x3; stand-ins and mocks used: kserve_standin (KServe 0.20's
    controller in Standard mode)

Under CI=true a green run must mean that the tests ran. So a skip fails the run unless its reason matches a line of
tests/allowed_skips.txt, and a skip of a test that needs the API server (marker `cluster`) fails it always. So does a
child process that is still there when the tests are over.

A stand-in or mock is a file under tests/ that says so in its name and whose docstring begins with `A stand-in for X.`
It counts as used when a test process imported it, or when a fixture said so with `note_not_real`.
"""

import ast
import os
import re
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

TESTS = Path(__file__).resolve().parent
ALLOWED_SKIPS = TESTS / "allowed_skips.txt"
NOT_REAL = re.compile(r"standin|stand_in|mock")
NOT_REAL_LIBRARIES = ("kmock", "moto", "respx", "responses")
STANDS_FOR = re.compile(r"(?:stand-in|mock) for (.+?)\.(?:\s|$)", re.IGNORECASE)
HELPERS_OF_PYTHON = "multiprocessing.resource_tracker"  # lives until the interpreter ends, by design
CHILD_GRACE_S = 3.0
OUTCOMES = ("passed", "failed", "error", "xfailed", "xpassed")
OUTCOME_WORDS = {"error": "errors"}


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--allowed-skips",
        type=Path,
        default=ALLOWED_SKIPS,
        help="file of regular expressions, one a line: the skip reasons that CI accepts",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ClosingLine(config), "moorage-closing-line")


def note_not_real(config: pytest.Config, what: Path | str) -> None:
    """For a fixture that runs a stand-in as a process: name its file, or say in words what it is."""
    plugin = config.pluginmanager.getplugin("moorage-closing-line")
    if plugin is not None:
        plugin.not_real.add(described(what) if isinstance(what, Path) else what)


def described(path: Path) -> str:
    """`kserve_standin (KServe's controller)`: the file's name and what its docstring says it stands for."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    stands_for = STANDS_FOR.search(" ".join(docstring.split()))
    return f"{path.stem} ({stands_for[1]})" if stands_for else path.stem


def imported() -> set[str]:
    """Stand-ins and mocks that this process imported: files under tests/, and libraries known to be such."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    found = {
        described(path)
        for path in TESTS.rglob("*.py")
        if NOT_REAL.search(path.stem) and not path.name.startswith("test_") and str(path) in files
    }
    return found | {library for library in NOT_REAL_LIBRARIES if library in sys.modules}


def read_allowed(path: Path) -> list[re.Pattern[str]]:
    """The patterns of a file; a line that begins with # is a comment and says why the next one is there."""
    if not path.exists():
        return []
    lines = (line.strip() for line in path.read_text().splitlines())
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


class ClosingLine:
    """Gathers skips and stand-ins while the tests run; judges and prints at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._skips: Counter[str] = Counter()
        self._cluster_skips: Counter[str] = Counter()
        self.not_real: set[str] = set()
        self._complaints: list[str] = []
        self._allowed = read_allowed(config.getoption("allowed_skips"))
        self._children_before = {child.pid for child in psutil.Process().children(recursive=True)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item):  # type: ignore[no-untyped-def]
        report = yield
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = skip_reason(report.longrepr)
            self._skips[reason] += 1
            if item.get_closest_marker("cluster"):
                self._cluster_skips[reason] += 1
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that skips itself while it is imported."""
        if report.skipped:
            self._skips[skip_reason(report.longrepr)] += 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session):  # type: ignore[no-untyped-def]
        result = yield  # the session's fixtures are torn down in here
        left = self._children_left()
        if left:
            self._complaints.append(f"left running: {', '.join(left)}")
        if is_ci():
            self._judge_skips()
        if self._complaints and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """After pytest's own summary line, which stays as it is."""
        reporter = config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or config.option.collectonly or config.option.help:
            return
        for complaint in self._complaints:
            reporter.write_line(f"moorage tests: FAILED because {complaint}", red=True)
        reporter.write_line(self._line(reporter.stats))

    def _line(self, stats: dict[str, list]) -> str:
        counts = {name: len(stats[name]) for name in OUTCOMES if stats.get(name)}
        words = [f"{count} {OUTCOME_WORDS.get(name, name)}" for name, count in counts.items()] or ["nothing run"]
        skipped = f"{self._skips.total()} skipped"
        if self._skips:
            skipped += ": " + ", ".join(f'"{reason}" x{count}' for reason, count in sorted(self._skips.items()))
        not_real = ", ".join(sorted(self.not_real | imported())) or "none"
        return f"moorage tests: {', '.join(words)}, {skipped}; stand-ins and mocks used: {not_real}"

    def _judge_skips(self) -> None:
        for reason, count in sorted(self._cluster_skips.items()):
            self._complaints.append(f'{count} tests that need the API server were skipped: "{reason}"')
        for reason, count in sorted((self._skips - self._cluster_skips).items()):
            if not any(pattern.search(reason) for pattern in self._allowed):
                self._complaints.append(f'{count} skips have a reason that allowed_skips.txt does not list: "{reason}"')

    def _children_left(self) -> list[str]:
        children = psutil.Process().children(recursive=True)
        new = [child for child in children if child.pid not in self._children_before and not _is_helper(child)]
        _, alive = psutil.wait_procs(new, timeout=CHILD_GRACE_S)
        return [_describe(child) for child in alive]


def skip_reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())


def _is_helper(process: psutil.Process) -> bool:
    try:
        return HELPERS_OF_PYTHON in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.name()} (pid {process.pid})"
    except psutil.Error:
        return f"pid {process.pid}"
