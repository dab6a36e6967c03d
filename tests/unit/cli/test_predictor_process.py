import subprocess
import sys
from typing import Any

import psutil
import pytest

from moorage.api import ExitCode, PredictorSettings
from moorage.cli import predictor_process
from moorage.cli.predictor_process import PredictorProcess


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import time; print('up', flush=True); time.sleep(60)", ExitCode.OK),
        ("import signal, sys; signal.signal(15, lambda *_: sys.exit(4)); print('up', flush=True); signal.pause()", 4),
        ("import os; print('up', flush=True); os.kill(os.getpid(), 11)", ExitCode.INTERNAL),
    ],
    ids=["before it has its handlers", "after that", "it has crashed by itself"],
)
def test_a_predictor_that_is_told_to_stop_before_it_has_begun_has_ended_in_order(
    program: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: Any, **options: Any) -> subprocess.Popen[str]:
        child: subprocess.Popen[str] = popen([sys.executable, "-c", program], stdout=subprocess.PIPE, **options)
        assert child.stdout
        with child.stdout as said:
            assert said.readline() == "up\n"
        if "kill" in program:
            child.wait()
        return child

    popen = subprocess.Popen
    monkeypatch.setattr(predictor_process.subprocess, "Popen", started)
    settings = PredictorSettings(task="image-classification", model_dir="m")
    before = psutil.Process().num_fds()
    process = PredictorProcess(settings, lambda _: None, lambda _: None)
    assert process.stop() == code
    assert psutil.Process().num_fds() == before, "its pipes are closed"
