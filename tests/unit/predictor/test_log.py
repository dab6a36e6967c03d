"""What the process says while it loads."""

import subprocess
import sys
import time

import pytest

from moorage.api.predictor import LoadProgress
from moorage_predictor import log


def test_a_step_says_how_old_the_process_was(capsys):
    before = log.age()
    log.progress(LoadProgress("fetch", 1, 1))
    log.progress(LoadProgress("fetch", 1, 1, at=7.25))
    now, stated = map(LoadProgress.from_line, capsys.readouterr().err.splitlines())
    assert before <= now.at <= log.age()
    assert stated.at == 7.25


@pytest.mark.timeout(30)  # a new interpreter
def test_the_age_is_counted_from_the_start_of_the_interpreter():
    script = "import time; time.sleep(0.3); from moorage_predictor import log; print(log.age())"
    started = time.monotonic()
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 0.3 <= float(told) <= time.monotonic() - started + 0.02  # the system counts in hundredths


@pytest.mark.timeout(30)  # a new interpreter
@pytest.mark.parametrize("level", ["info", "debug"])
def test_what_grpcio_logs_of_metadata_that_is_no_text_is_not_said(level):
    script = f"""import logging; from moorage_predictor import log
log.configure("{level}")
grpcio = logging.getLogger("grpc._cython.cygrpc")
grpcio.error("Invalid encoding on %s", b"mk_secret")
grpcio.error("another")"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert '"message": "another"' in said
    assert "mk_secret" not in said
