"""One cold start: spawn the predictor, ask it as soon as it is ready, and say where the time went. Called by `cold_start`.

Its own words say when each step was done (`LoadProgress.at`, since the process began); the first answer is timed here.
"""

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from moorage.api import ExitCode, LoadProgress, PredictorSettings
from moorage.api.child import python
from moorage.cli.errors import UserError
from moorage.cli.predictor_process import DIRECTLY, PredictorProcess

STAGES: Final = {
    "interpreter": "the process, until Python runs our code",
    "imports": "the servers' libraries and torch",
    "fetch": "the model's files, from where storageUri says",
    "load": "the network is built and gets its weights; a class of your own is imported and constructed",
    "warm-up": "one forward pass",
    "first answer": "the server says ready, and answers one request",
}
"""In order; what each is."""
_STAGE_OF: Final = {
    "import": "imports",
    "fetch": "fetch",
    "weights": "load",
    "warmup": "warm-up",
    "ready": "first answer",
}
_ANSWER_TIMEOUT_S: Final = 120
_FLOOR_TIMEOUT_S: Final = 600


@dataclass(frozen=True)
class ColdStart:
    """Seconds by stage; together they are the time from spawn to the first correct answer."""

    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class FirstRequest:
    """What is asked. Without a body the model's readiness is the answer."""

    path: str
    content_type: str
    body: bytes | None


def stages_of(steps: Sequence[LoadProgress], answered: float) -> dict[str, float]:
    """Seconds of each stage: the time before a step belongs to its stage, and if the step only begins to the one before.

    Args:
        steps: in the predictor's order.
        answered: when the first answer was there, in seconds since the process began.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    stage, last = "interpreter", 0.0
    for step in steps:
        at = last if step.at is None else step.at
        if step.done:
            stage = _STAGE_OF[step.stage]
        seconds[stage] += at - last
        stage, last = _STAGE_OF[step.stage], at
    seconds["first answer"] += answered - last
    return seconds


def cold_start(settings: PredictorSettings, request: FirstRequest, on_line: Callable[[str], None]) -> ColdStart:
    """One run.

    Raises:
        UserError: the predictor could not start, or answered with an error.
    """
    steps: list[LoadProgress] = []
    began = time.monotonic()
    process = PredictorProcess(settings, steps.append, on_line)
    try:
        process.wait_ready(threading.Event())
        if request.body is not None:
            _ask(process.url, request)
        answered = time.monotonic() - began
    finally:
        process.stop()
    return ColdStart(stages_of(steps, answered))


def _ask(url: str, request: FirstRequest) -> None:
    asked = urllib.request.Request(  # noqa: S310 - our own child
        url + request.path, request.body, {"Content-Type": request.content_type}
    )
    try:
        with DIRECTLY.open(asked, timeout=_ANSWER_TIMEOUT_S) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise UserError(f"the predictor answered the first request with {error.code}: {text}") from error
    except OSError as error:
        raise UserError(f"the predictor did not answer: {error}", ExitCode.UNAVAILABLE) from error


def floor(settings: PredictorSettings) -> ColdStart:
    """The least that a process needs: import torch, read these weights, one forward pass.

    Raises:
        UserError: it failed; with its own words.
    """
    child = subprocess.run(
        python("-m", "moorage_predictor.floor", *settings.argv()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_FLOOR_TIMEOUT_S,
        check=False,
    )
    if child.returncode:
        said = child.stderr.strip().splitlines() or [f"it ended with status {child.returncode}"]
        raise UserError(f"--floor: {said[-1]}")
    return ColdStart(json.loads(child.stdout))
