"""`moor up FILE`: the same file, the same predictor, without a cluster.

validate -> show what a cluster would get -> start the predictor -> wait until it is ready -> one real photo -> serve
"""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from moorage.api import ExitCode, LoadProgress, ModelDeployment, PredictorSettings
from moorage.api.option_errors import problems
from moorage.api.signal_event import SignalEvent, when_told_to_stop
from moorage.cli import screen, up_table
from moorage.cli.errors import UserError
from moorage.cli.files import one_model_deployment
from moorage.cli.predictor_process import DIRECTLY, PredictorProcess, relay
from moorage.cli.steps import Steps
from moorage.cli.up_access import LocalAccess, local_access
from moorage.render import local_settings, refusal, render

SAMPLE_PHOTO = Path(__file__).parent / "photos" / "chelsea.png"
SAMPLE_SIDE = 451
"""Its width, the larger side, in pixels; a test compares."""

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
    photo_data: bytes | None = None
    """What is in it, once it is read: a pipe has it only once."""


def up(options: UpOptions) -> ExitCode:
    """Serve until Ctrl-C, SIGTERM or SIGHUP; 0 after a clean drain.

    Raises:
        UserError: a mistake in the file, the options or the model; or something that is needed is not there.
    """
    started = time.perf_counter()
    console = screen.console()
    deployment = one_model_deployment(options.file)
    if options.photo is not None:
        options = replace(options, photo_data=_read(options.photo))  # now, and not after the model was fetched
    if refused := refusal(deployment, local=True):
        raise UserError(f"{options.file}: {refused.reason}: {refused.message}")
    with local_access(deployment, options.file) as access:
        return _serve(console, deployment, options, access, started)


def _serve(
    console: Console, deployment: ModelDeployment, options: UpOptions, access: LocalAccess, started: float
) -> ExitCode:
    settings = _settings(deployment, options, access)
    _show_objects(console, deployment)

    stopped = SignalEvent()
    when_told_to_stop(stopped.set)

    with Steps(console, "loading: ") as steps:

        def progress(step: LoadProgress) -> None:
            """Called from the thread that reads the predictor's stderr."""
            steps.step(_STAGES[step.stage], step.done, step.total)

        process = PredictorProcess(settings, progress, relay)
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
        raise UserError(problems(error)[0]) from error


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
    if not settings.built_in and options.photo is None:
        _ready(console, process.url, settings.model_name, started)
        return
    if settings.task == "tabular":
        row = up_table.ask(process.url, settings.model_name, access.headers)
        console.print(up_table.shown(row))
        console.print(f"time to first prediction: {time.perf_counter() - started:.1f} s", style="bold")
        told = up_table.curl_lines(process.url, settings.model_name, row, with_key=bool(access.headers))
        _print_lines(console, told)
        return
    if options.photo is None and _sample_is_too_large(settings):
        console.print("the sample photo is larger than the limits of this deployment: not sent; --photo sends another")
        _ready(console, process.url, settings.model_name, started)
        return
    photo = options.photo or SAMPLE_PHOTO
    data = _read(photo) if options.photo_data is None else options.photo_data
    answer = _ask(process.url, settings.model_name, photo, data, access.headers)
    took_s = time.perf_counter() - started
    if settings.task == "object-detection":
        console.print(screen.detections(photo, answer))
    elif settings.built_in:
        console.print(screen.predictions(photo, answer))
    else:
        console.print_json(data=answer)
    console.print(f"time to first prediction: {took_s:.1f} s", style="bold")
    lines = screen.curl_lines(
        process.url, settings.model_name, photo, with_key=bool(access.headers), own_class=not settings.built_in
    )
    _print_lines(console, zip(("V1", "V2"), lines, strict=True))


def _print_lines(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    for label, line in lines:
        console.print(f"{label}:", style="bold", end=" ")
        console.print(line, soft_wrap=True, markup=False)


def _sample_is_too_large(settings: PredictorSettings) -> bool:
    return settings.max_image_side < SAMPLE_SIDE or settings.max_image_bytes < SAMPLE_PHOTO.stat().st_size


def _ready(console: Console, url: str, model: str, started: float) -> None:
    """Of a class of the user's, which alone knows what it wants to be asked, and where the sample photo is too large."""
    console.print(f"time to ready: {time.perf_counter() - started:.1f} s", style="bold")
    for label, path in (("V1", f"/v1/models/{model}:predict"), ("V2", f"/v2/models/{model}/infer")):
        console.print(f"{label}:", style="bold", end=" ")
        console.print(f"POST {url}{path}", soft_wrap=True, markup=False, highlight=False)


def _read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise UserError(f"--photo: {photo}: cannot be read: {error.strerror}") from error


def _ask(url: str, model: str, photo: Path, data: bytes, headers: dict[str, str]) -> Any:
    body = json.dumps({"instances": [{"b64": base64.b64encode(data).decode()}]}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own child
        f"{url}/v1/models/{model}:predict", body, {"Content-Type": "application/json", **headers}
    )
    try:
        with DIRECTLY.open(request, timeout=120) as answer:
            return json.load(answer)["predictions"][0]
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{photo}: the predictor answered {error.code}: {error.read().decode(errors='replace')}"
        ) from error
    except OSError as error:
        raise UserError(f"the predictor did not answer: {error}", ExitCode.UNAVAILABLE) from error
