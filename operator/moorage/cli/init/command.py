"""`moor init KIND [FOLDER]`: a small model of real data, trained here, its ModelDeployment, and what to do with them.

    kinds.py -> process.py (a child trains into a folder beside FOLDER) -> FOLDER -> what was measured, next commands

Called by `app.py`.
"""

import hashlib
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import jinja2
import yaml
from rich.console import Console
from rich.filesize import decimal

from moorage.api import ExitCode, check
from moorage.cli import screen
from moorage.cli.errors import UserError
from moorage.cli.init import process
from moorage.cli.init.kinds import Kind
from moorage.cli.init.process import Made

ROOM = 16 * 1024 * 1024
"""Bytes: several times what any kind writes."""


@dataclass(frozen=True)
class _Deployment:
    """One model in its place."""

    made: Made
    file: Path
    """Its ModelDeployment."""
    command: str
    """What serves it: called here, or in the folder if it is served from inside."""


def init(kind: Kind, folder: Path) -> ExitCode:
    """Train, and leave everything in `folder`; nothing if that fails.

    Raises:
        UserError: something that training needs is not installed, the folder is in use, or training failed.
    """
    missing = [name for name in kind.needs if find_spec(name) is None]
    if missing:
        raise UserError(
            f"moor init {kind.word} needs {', '.join(missing)}: pip install 'moorage[{kind.extras}]'",
            ExitCode.UNAVAILABLE,
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder}: expected a new or an empty folder, found {'files in it' if folder.is_dir() else 'a file'}"
        )
    console = screen.console()
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        _expect_room(folder.absolute().parent)
        with tempfile.TemporaryDirectory(prefix=f".{kind.word}-", dir=folder.absolute().parent) as scratch:
            whole = Path(scratch)
            models = process.train(kind, whole, console)
            deployments = [_deploy(made, whole, folder) for made in models]
            folder.mkdir(exist_ok=True)
            for path in sorted(whole.iterdir(), key=lambda path: path.is_file()):  # last what refers to the others
                path.replace(folder / path.name)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    _tell(console, kind, folder, deployments)
    return ExitCode.OK


def _expect_room(place: Path) -> None:
    """Told now, and not after minutes of training in the words of whichever library has run out of it."""
    disk = shutil.disk_usage(place)
    if disk.total and disk.free < ROOM:  # some network file systems say 0 of 0
        raise UserError(
            f"{place}: expected room for {decimal(ROOM)}, found {decimal(disk.free)}: make room, or name a FOLDER on another disk",
            ExitCode.UNAVAILABLE,
        )


def _deploy(made: Made, whole: Path, folder: Path) -> _Deployment:
    """Write the model's ModelDeployment, as it will be right once `whole` is `folder`."""
    file, place = folder / f"{made.name}.yaml", folder / made.name
    here = Path() if made.inside else folder
    command = f"moor up {shlex.quote(str(here / file.name))} --model-root {shlex.quote(str(here / made.name))}"
    if made.photo:
        command += f" --photo {shlex.quote(str(here / made.photo))}"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - YAML
    template = environment.from_string(files("moorage.cli").joinpath("templates/scaffold.yaml.j2").read_text())
    text = template.render(
        name=made.name,
        command=command,
        measured=made.measured,
        model={
            "task": made.task,
            **made.model,
            "storageUri": place.absolute().as_uri(),
            "sha256": hashlib.sha256((whole / made.name / made.weights).read_bytes()).hexdigest(),
        },
    )
    check(yaml.safe_load(text))
    (whole / file.name).write_text(text)
    return _Deployment(made, file, command)


def _tell(console: Console, kind: Kind, folder: Path, deployments: list[_Deployment]) -> None:
    """The files, what was measured, and the commands that come next."""
    console.print(f"{kind.makes}:", style="bold")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        console.print(f"  {file}  {decimal(file.stat().st_size)}", soft_wrap=True, markup=False)
    for one in deployments:
        console.print(f"{one.made.name}: {one.made.measured}", style="bold", soft_wrap=True, markup=False)
    console.print("next:", style="bold")
    for one in deployments:
        first = (f"cd {shlex.quote(str(folder))}", *one.made.then) if one.made.inside else one.made.then
        for line in (*first, one.command):
            console.print(f"  {line}", soft_wrap=True, markup=False)
