"""The child that trains: `python -m moorage_predictor.scaffolds KIND FOLDER`. Started by `command.py`.

Its standard output is JSON lines: {"stage", "done", "total"} while it works, at the end one {"models": [...]}.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from moorage.api import ExitCode
from moorage.api.child import python
from moorage.cli.errors import UserError
from moorage.cli.init.kinds import Kind
from moorage.cli.steps import Steps


@dataclass(frozen=True)
class Made:
    """One trained model, in the folder `name` of the folder given."""

    name: str
    """Of the ModelDeployment."""
    task: str
    weights: str
    """The file of `name`'s folder whose sha256 is checked before it is read."""
    measured: str
    """How good it is, and on what."""
    model: dict[str, Any] = field(default_factory=dict)
    """What else `spec.model` says."""
    photo: str | None = None
    """A file of the folder given, to be sent first; for tasks that take images."""
    inside: bool = False
    """Whether commands are called in the folder given: a class of the user's is imported from there."""
    then: Sequence[str] = ()
    """What else may be called there, before it is served."""


def train(kind: Kind, folder: Path, console: Console) -> list[Made]:
    """The models that the child has left in `folder`.

    Raises:
        UserError: it failed; its own words were relayed.
    """
    child = subprocess.Popen(
        python("-m", "moorage_predictor.scaffolds", kind.word, str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches us alone; we end the child, without its traceback
    )
    models: list[Made] = []
    try:
        with Steps(console) as steps:
            for line in child.stdout or ():
                said = _said(line)
                if "models" in said:
                    models = [Made(**model) for model in said["models"]]
                elif "stage" in said:
                    steps.step(said["stage"], said["done"], said["total"])
        code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()
    if code == ExitCode.UNAVAILABLE:  # it has said why
        raise UserError("", ExitCode.UNAVAILABLE)
    if code or not models:
        raise UserError(f"moor init {kind.word}: training ended with status {code}", ExitCode.INTERNAL)
    return models


def _said(line: str) -> dict[str, Any]:
    """A line of the protocol; whatever libraries print is none."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
