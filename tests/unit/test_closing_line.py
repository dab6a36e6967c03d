"""The last line of a test run, and what CI makes of skips and of processes that are left running."""

from pathlib import Path

import psutil
import pytest
from tests import closing_line

pytest_plugins = ["pytester"]

SKIPS = """
import pytest

def test_passes():
    pass

def test_has_no_gpu():
    pytest.skip("no CUDA device")

@pytest.mark.skip(reason="no CUDA device")
def test_has_no_gpu_either():
    pass
"""
CLUSTER_SKIP = """
import pytest

@pytest.mark.cluster
def test_needs_a_cluster():
    pytest.skip("no Go to build one")

def test_passes():
    pass
"""
PASSES = "def test_passes(): pass"
LEAVES_A_CHILD = """
import pathlib, subprocess, sys

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("pid").write_text(str(child.pid))

def test_passes():
    pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run pytest on one module, in CI or not, with these allowed reasons."""

    def run_it(module: str, *, ci: bool = False, allowed: str = "") -> pytest.RunResult:
        monkeypatch.setenv("CI", "true" if ci else "")
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytester.makeini("[pytest]\nmarkers = cluster: needs a real API server")
        pytester.makepyfile(module)
        allowed_skips = pytester.path / "allowed.txt"
        allowed_skips.write_text(allowed)
        return pytester.runpytest_inprocess("-p", "tests.closing_line", f"--allowed-skips={allowed_skips}")

    return run_it


def last_line(result: pytest.RunResult) -> str:
    return result.outlines[-1]


def test_the_last_line_names_every_reason_and_how_often(run) -> None:
    result = run(SKIPS)
    assert last_line(result).startswith(
        'moorage tests: 1 passed, 2 skipped: "no CUDA device" x2; stand-ins and mocks used'
    )
    assert result.ret == pytest.ExitCode.OK


def test_pytests_own_summary_stays(run) -> None:
    run(SKIPS).assert_outcomes(passed=1, skipped=2)


def test_a_run_without_skips_says_so(run) -> None:
    assert last_line(run(PASSES)).startswith("moorage tests: 1 passed, 0 skipped; ")


def test_outside_ci_a_skip_is_fine(run) -> None:
    assert run(SKIPS, ci=False).ret == pytest.ExitCode.OK


def test_in_ci_a_skip_for_a_listed_reason_is_fine(run) -> None:
    assert run(SKIPS, ci=True, allowed="# CI has no GPU\n^no CUDA").ret == pytest.ExitCode.OK


def test_in_ci_a_skip_for_another_reason_fails_the_run(run) -> None:
    result = run(SKIPS, ci=True, allowed="# a comment is no pattern: no CUDA device\n^something else")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(['moorage tests: FAILED because 2 skips have a reason that *: "no CUDA device"'])


def test_in_ci_a_test_that_needs_the_api_server_may_not_be_skipped_whatever_is_listed(run) -> None:
    result = run(CLUSTER_SKIP, ci=True, allowed=".*")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ['moorage tests: FAILED because 1 tests that need the API server were skipped: "no Go *"']
    )


def test_outside_ci_a_test_that_needs_the_api_server_may_be_skipped(run) -> None:
    result = run(CLUSTER_SKIP, ci=False)
    assert result.ret == pytest.ExitCode.OK
    assert '1 skipped: "no Go to build one" x1' in last_line(result)


def test_a_child_process_that_is_left_running_fails_the_run(
    run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing_line, "CHILD_GRACE_S", 0.1)
    result = run(LEAVES_A_CHILD)
    child = psutil.Process(int((pytester.path / "pid").read_text()))
    child.kill()
    child.wait()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["moorage tests: FAILED because left running: *"])


def test_a_stand_in_is_called_by_its_file_and_by_what_it_stands_for(tmp_path: Path) -> None:
    stand_in = tmp_path / "queue_standin.py"
    stand_in.write_text('"""A STAND-IN for Redis 8.2,\nmade of a dict. It forgets."""\n')
    assert closing_line.described(stand_in) == "queue_standin (Redis 8.2, made of a dict)"


def test_every_allowed_reason_stands_below_a_comment_that_says_why() -> None:
    lines = [line for line in closing_line.ALLOWED_SKIPS.read_text().splitlines() if line.strip()]
    patterns = [number for number, line in enumerate(lines) if not line.startswith("#")]
    assert patterns
    assert all(lines[number - 1].startswith("#") for number in patterns)
    assert len(closing_line.read_allowed(closing_line.ALLOWED_SKIPS)) == len(patterns)
