"""`moor bench cold-start`: start the predictor N times and show what a cold start consists of."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich.console import Console

from moorage.api import ExitCode, PredictorSettings
from moorage.api.option_errors import problems
from moorage.cli import screen
from moorage.cli.bench import picture, report
from moorage.cli.bench.measure import FirstRequest, cold_start, floor
from moorage.cli.errors import UserError
from moorage.cli.files import one_model_deployment
from moorage.cli.predictor_process import relay
from moorage.cli.up import SAMPLE_PHOTO
from moorage.render import local_settings, refusal

_HOST = "127.0.0.1"
_CLASSIFICATION = "image-classification"


@dataclass(frozen=True)
class ColdStartOptions:
    """What the command line said."""

    file: Path | None
    task: str
    storage_uri: str | None
    model_dir: Path | None
    architecture: str | None
    model_root: Path | None
    request: Path | None
    runs: int
    floor: bool
    output: Literal["text", "json"]
    picture: Path | None


def bench_cold_start(options: ColdStartOptions) -> ExitCode:
    """Measure and print.

    Raises:
        UserError: an option is wrong, or the model cannot be served.
    """
    if options.picture and options.picture.suffix != ".svg":
        raise UserError(f"--picture: expected a file name that ends in .svg, found {options.picture}")
    if options.picture and not options.picture.parent.is_dir():
        raise UserError(f"--picture: {options.picture}: expected a file in a folder that there is: make it first")
    settings = _settings(options)
    if options.floor and settings.task != _CLASSIFICATION:
        raise UserError(f"--floor: expected task {_CLASSIFICATION}, found {settings.task}: what it needs is its own")
    request = _first_request(options, settings)
    runs, floors = [], []
    with Console(stderr=True).status("starting") as status:
        for number in range(1, options.runs + 1):
            if options.floor:  # in turn, so that both meet the same machine
                status.update(f"floor {number} of {options.runs}")
                floors.append(floor(settings))
            status.update(f"cold start {number} of {options.runs}")
            runs.append(cold_start(_with_ports(settings), request, relay))
    measured = report.Measured(tuple(runs), tuple(floors))
    if options.output == "json":
        screen.console().print_json(data=report.as_json(measured))
    else:
        screen.console().print(report.as_text(measured, bars=screen.console().is_terminal))
    if options.picture:
        _write(options.picture, picture.svg(measured))
    return ExitCode.OK


def _settings(options: ColdStartOptions) -> PredictorSettings:
    root = str(options.model_root.resolve()) if options.model_root else None
    own = (options.storage_uri, options.model_dir, options.architecture)
    if not (options.file or options.storage_uri or options.model_dir) and options.task == _CLASSIFICATION:
        raise UserError("expected a file, --storage-uri or --model-dir, found none")
    try:
        if options.file is None:
            return PredictorSettings(
                task=options.task,
                storage_uri=options.storage_uri,
                model_dir=str(options.model_dir) if options.model_dir else None,
                architecture=options.architecture,
                model_root=root,
                host=_HOST,
                exit_with_parent=True,
            )
        if any(own) or options.task != _CLASSIFICATION:
            raise UserError("expected either a file or --task, --storage-uri, --model-dir and --architecture")
        deployment = one_model_deployment(options.file)
        if refused := refusal(deployment, local=True):
            raise UserError(f"{options.file}: {refused.reason}: {refused.message}")
        return local_settings(
            deployment,
            host=_HOST,
            http_port=0,
            grpc_port=0,
            model_root=root,
            storage_allow_hosts=(),
            exit_with_parent=True,
        )
    except ValidationError as error:
        raise UserError(problems(error)[0]) from error


def _with_ports(settings: PredictorSettings) -> PredictorSettings:
    """The same on two ports that are free now."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind((_HOST, 0))
        ports = {"http_port": one.getsockname()[1], "grpc_port": other.getsockname()[1]}
    return settings.model_copy(update=ports)


def _first_request(options: ColdStartOptions, settings: PredictorSettings) -> FirstRequest:
    v1, v2 = f"/v1/models/{settings.model_name}:predict", f"/v2/models/{settings.model_name}/infer"
    if options.request:
        try:
            return FirstRequest(v2, "application/json", options.request.read_bytes())
        except OSError as error:
            raise UserError(f"--request: {options.request}: cannot be read: {error.strerror}") from error
    photo = SAMPLE_PHOTO.read_bytes() if settings.task == _CLASSIFICATION else None
    return FirstRequest(v1, "image/png", photo)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--picture: {path}: cannot be written: {error.strerror}") from error
