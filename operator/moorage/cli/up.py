"""`moor up FILE`: the same file, the same predictor, without a cluster.

validate -> show what a cluster would get -> start the predictor -> wait until it is ready -> one real photo -> serve
"""

import base64
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from moorage.api import ExitCode, LoadProgress, ModelDeployment, PredictorSettings
from moorage.cli import screen
from moorage.cli.files import UserError, one_model_deployment
from moorage.cli.predictor_process import DIRECTLY, PredictorProcess, relay
from moorage.cli.up_access import LocalAccess, local_access
from moorage.render import local_settings, refusal, render

SAMPLE_PHOTO = Path(__file__).parent / "photos" / "chelsea.png"

_STAGES = {
    "import": "importing",
    "fetch": "fetching",
    "weights": "reading weights",
    "warmup": "warming up",
    "ready": "ready",
}


@dataclass(frozen=True)
class UpOptions:
    """What the command line said."""

    file: Path
    host: str
    http_port: int
    grpc_port: int
    model_root: Path | None
    storage_allow_hosts: tuple[str, ...]
    photo: Path | None
    once: bool


def up(options: UpOptions) -> ExitCode:
    """Serve until Ctrl-C or SIGTERM; 0 after a clean drain.

    Raises:
        UserError: a mistake in the file, the options or the model; or something that is needed is not there.
    """
    started = time.perf_counter()
    console = screen.console()
    deployment = one_model_deployment(options.file)
    if refused := refusal(deployment, local=True):
        raise UserError(f"{options.file}: {refused.reason}: {refused.message}")
    with local_access(deployment, options.file) as access:
        return _serve(console, deployment, options, access, started)


def _serve(
    console: Console, deployment: ModelDeployment, options: UpOptions, access: LocalAccess, started: float
) -> ExitCode:
    settings = _settings(deployment, options, access)
    _show_objects(console, deployment)

    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):  # explicit, so that it also works where SIGINT arrived ignored
        signal.signal(signum, lambda *_: stopped.set())

    with _Loading(console) as loading:
        process = PredictorProcess(settings, loading.progress, relay)
        try:
            ready = process.wait_ready(stopped)
        except BaseException:
            process.stop()
            raise
    if not ready:
        return process.stop()
    try:
        _first_answer(console, process, settings, options, access, started)
        access.end_own_key()
        if not options.once:
            console.print(
                f"serving on {process.url} (HTTP) and {settings.host}:{settings.grpc_port} (gRPC); Ctrl-C stops"
            )
            code = process.wait(stopped)
            if code is not None:
                raise UserError("the predictor ended by itself; its last words are above", code or ExitCode.INTERNAL)
            console.print("draining")
    finally:
        code = process.stop()
    console.print("stopped")
    return code


def _settings(deployment: ModelDeployment, options: UpOptions, access: LocalAccess) -> PredictorSettings:
    try:
        return local_settings(
            deployment,
            host=options.host,
            http_port=options.http_port,
            grpc_port=options.grpc_port,
            model_root=str(options.model_root.resolve()) if options.model_root else None,
            storage_allow_hosts=options.storage_allow_hosts,
            exit_with_parent=True,
            **access.settings,
        )
    except ValidationError as error:
        item = error.errors()[0]
        raise UserError(
            f"--{str(item['loc'][0]).replace('_', '-') if item['loc'] else 'options'}: {item['msg']}"
        ) from error


def _show_objects(console: Console, deployment: ModelDeployment) -> None:
    refused = refusal(deployment)
    if refused:
        console.print(f"in a cluster this would be refused: {refused.reason}: {refused.message}")
    else:
        console.print(screen.objects(deployment, render(deployment)))


def _first_answer(
    console: Console,
    process: PredictorProcess,
    settings: PredictorSettings,
    options: UpOptions,
    access: LocalAccess,
    started: float,
) -> None:
    photo = options.photo or SAMPLE_PHOTO
    answer = _ask(process.url, settings.model_name, photo, access.headers)
    took_s = time.perf_counter() - started
    console.print(screen.predictions(photo, answer))
    console.print(f"time to first prediction: {took_s:.1f} s", style="bold")
    lines = screen.curl_lines(process.url, settings.model_name, photo, with_key=bool(access.headers))
    for label, line in zip(("V1", "V2"), lines, strict=True):
        console.print(f"{label}:", style="bold", end=" ")
        console.print(line, soft_wrap=True, markup=False)


def _ask(url: str, model: str, photo: Path, headers: dict[str, str]) -> dict[str, Any]:
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise UserError(f"--photo: {photo}: cannot be read: {error.strerror}") from error
    body = json.dumps({"instances": [{"b64": base64.b64encode(data).decode()}]}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own child
        f"{url}/v1/models/{model}:predict", body, {"Content-Type": "application/json", **headers}
    )
    try:
        with DIRECTLY.open(request, timeout=120) as answer:
            first: dict[str, Any] = json.load(answer)["predictions"][0]
            return first
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{photo}: the predictor answered {error.code}: {error.read().decode(errors='replace')}"
        ) from error
    except OSError as error:
        raise UserError(f"the predictor did not answer: {error}", ExitCode.UNAVAILABLE) from error


class _Loading:
    """The way to ready: a bar on a terminal, a line a stage elsewhere, nothing in CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._stage = ""

    def __enter__(self) -> "_Loading":
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<16}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def progress(self, step: LoadProgress) -> None:
        """Called from the thread that reads the predictor's stderr."""
        words = _STAGES[step.stage]
        if self._bar is not None:
            self._bar.update(self._task, description=words, completed=step.done, total=step.total or None)
        elif step.stage != self._stage and not os.environ.get("CI"):
            self._console.print(f"loading: {words}")
        self._stage = step.stage
