"""`moor optimize MODEL FOLDER`: measure engines for a model here, and leave one folder that the predictor serves at once.

The measuring is the predictor's, in a child process; this room only asks for it and draws the answer.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console, RenderableType
from rich.table import Table

from moorage.api import ExitCode, PredictorSettings
from moorage.api.child import python
from moorage.api.option_errors import problems
from moorage.cli import screen
from moorage.cli.errors import UserError


@dataclass(frozen=True)
class OptimizeOptions:
    """What the command line said."""

    model: str
    folder: Path
    architecture: str | None
    sha256: str | None
    precision: str
    engine: str | None
    budget_s: float
    calibration_dir: Path | None
    model_root: Path | None
    output: str


def optimize(options: OptimizeOptions) -> ExitCode:
    """Print the report; the folder can be served afterwards.

    Raises:
        UserError: an option is out of bounds, the predictor is not installed, or the model cannot be read.
    """
    missing = [name for name in ("torch", "timm") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"moor optimize needs {', '.join(missing)}: pip install 'moorage[predictor,openvino]'", ExitCode.UNAVAILABLE
        )
    child = subprocess.Popen(
        python("-m", "moorage_predictor.optimize", f"--package={options.folder}", *_settings(options).argv()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        for line in child.stderr or ():
            _tell(line.rstrip("\n"))
        report = child.stdout.read() if child.stdout else ""
        code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
    if code:
        raise UserError("", ExitCode(code) if code in set(ExitCode) else ExitCode.INTERNAL)
    if options.output == "json":
        sys.stdout.write(report)
    else:
        _show(screen.console(), json.loads(report), options.folder)
    return ExitCode.OK


def _settings(options: OptimizeOptions) -> PredictorSettings:
    remote = "://" in options.model
    try:
        return PredictorSettings.model_validate(
            {
                "task": "image-classification",
                "storage_uri": options.model if remote else None,
                "model_dir": None if remote else options.model,
                "model_root": str(options.model_root.resolve()) if options.model_root else None,
                "architecture": options.architecture,
                "sha256": options.sha256,
                "precision": options.precision,
                "engine": options.engine,
                "auto_budget_s": options.budget_s,
                "calibration_dir": str(options.calibration_dir) if options.calibration_dir else None,
            }
        )
    except ValidationError as error:
        raise UserError(problems(error)[0]) from error


def _tell(line: str) -> None:
    """Each candidate as soon as it is judged; the child's other words only from warnings on."""
    try:
        said: dict[str, Any] = json.loads(line)
        level = said["level"]
    except (ValueError, TypeError, KeyError):
        sys.stderr.write(f"{line}\n")
        return
    if "state" in said:
        sys.stderr.write(f"{said['engine']} {said['precision']}: {said['state']}{_because(said.get('reason'))}\n")
    elif level not in ("debug", "info"):
        sys.stderr.write(f"{line}\n")


def _because(reason: str | None) -> str:
    return f", {reason}" if reason else ""


def _show(console: Console, record: dict[str, Any], folder: Path) -> None:
    console.print(table(record))
    console.print(f"compared on: {record['calibration']}")
    chosen = record["chosen"]
    console.print(f"chosen: {chosen['engine']} {chosen['precision']}, in {folder}")
    console.print(f"serve it: moor serve --task=image-classification --model-dir={folder}{_asked(record)}")


def _asked(record: dict[str, Any]) -> str:
    """The options that this artifact is an answer to."""
    precision = record["wanted_precision"]
    return "" if precision == "fp32" else f" --precision={precision}"


def table(record: dict[str, Any]) -> RenderableType:
    """The candidates, in the order in which they were tried."""
    made = Table("engine", "precision", box=None, pad_edge=False)
    for name in ("one image, ms", "under load, ms", "same class"):
        made.add_column(name, justify="right")
    made.add_column("")
    for one in record["candidates"]:
        made.add_row(
            one["engine"],
            one["precision"],
            _number(one["ms_single"]),
            _number(one["ms_loaded"]),
            "" if one["agreement"] is None else f"{one['agreement']:.1%}",
            one["state"] + _because(one["reason"]),
            style="bold" if one["state"] == "chosen" else None,
        )
    return made


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
