"""`python -m moorage_predictor.optimize OPTIONS`: chooses an engine for a model, in a process of its own. Two callers:

    loading.load ──────→ run_chooser ─→ --into FOLDER     the engine alone, into the server's cache
    moor optimize ────────────────────→ --package FOLDER  the weights and the engine, to be served from that folder

Standard output gets `engine.json`; the log goes to stderr.
"""

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from pydantic import ValidationError

from moorage.api.child import python
from moorage.api.exit_codes import ExitCode
from moorage.api.option_errors import problems
from moorage.api.predictor import PredictorSettings
from moorage_predictor import log
from moorage_predictor.engine.backend import Unavailable
from moorage_predictor.errors import EngineUntried, StartError
from moorage_predictor.orphans import die_with_parent

if TYPE_CHECKING:
    from moorage_predictor.engine.record import Record

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.1
_BUILDING_S: Final = 600.0
"""Beside the budget, which does not end what has begun. Then torch's own float32 serves."""
_OF_THE_ENGINE: Final = ("architecture", "precision", "engine", "auto_budget_s", "calibration_dir", "log_level")
_STAGED: Final = ".moorage-optimize-"
"""Before the name of the folder in which files become whole."""
_BESIDE_WEIGHTS: Final = ("config.json", "labels.txt")


def run_chooser(settings: PredictorSettings, weights: Path, folder: Path, cancelled: threading.Event) -> None:
    """Choose in a child process; `engine.json` and its files are in the folder afterwards.

    Raises:
        Unavailable: it failed, took too long, or was cancelled.
    """
    # The rest of what the server was told is about serving.
    own = PredictorSettings(
        task=settings.task, model_dir=str(weights), **{name: getattr(settings, name) for name in _OF_THE_ENGINE}
    )
    child = subprocess.Popen(
        python("-m", __spec__.name, f"--into={folder}", *own.argv()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **own.env()},
    )
    waited, limit = 0.0, settings.auto_budget_s + _BUILDING_S
    try:
        while child.poll() is None:
            if cancelled.wait(_POLL_S):
                raise Unavailable("loading was cancelled")
            waited += _POLL_S
            if waited > limit:
                raise Unavailable(f"choosing an engine took longer than {limit:.0f} s")
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
    if child.returncode:
        raise Unavailable(f"choosing an engine ended with status {child.returncode}; its log is above")


def choose(settings: PredictorSettings, path: Path, folder: Path) -> "Record":
    """Choose an engine for the model at `path` and write it into the folder.

    Raises:
        StartError: the model, or a calibration image, cannot be read.
    """
    from moorage_predictor.engine import choose, files, network
    from moorage_predictor.engine.backends.eager import Eager
    from moorage_predictor.engine.options import EngineOptions
    from moorage_predictor.engine.record import Described, key_of
    from moorage_predictor.loading import engine_options
    from moorage_predictor.tasks.image_classification.calibration import calibration

    loaded = network.load(
        path,
        architecture=settings.architecture,
        sha256=settings.sha256,
        report=lambda _: None,
        cancelled=threading.Event(),
        options=EngineOptions(engine="eager"),  # by name, so that no earlier choice is looked for
    )
    assert isinstance(loaded.backend, Eager)
    images = calibration(loaded.data, Path(settings.calibration_dir) if settings.calibration_dir else None)
    options = engine_options(settings)
    chooser = choose.Chooser(loaded.backend.module.cpu(), options, images, folder)
    _, judged = chooser.run()
    key = key_of(loaded.weights, files.sha256_of(loaded.weights), settings.architecture)
    described = Described(
        architecture=loaded.architecture, num_classes=loaded.num_classes, data=loaded.data, sizes=loaded.sizes
    )
    with _writing(folder):
        return choose.write(folder, key, options, described, images.source, judged)


def package(settings: PredictorSettings, target: Path) -> "Record":
    """Put the weights, what lies beside them, and an engine into one folder, to be served from there. The folder changes once
    an engine is chosen; files are put in the place of older ones when they are whole: a server may have those mapped.

    Raises:
        StartError: the model cannot be fetched or read, an engine cannot be built for a reason that is the machine's, or the
            folder holds another model, cannot be written, or is being written by another process.
    """
    from moorage_predictor import storage
    from moorage_predictor.engine import files

    with tempfile.TemporaryDirectory(prefix="moorage-optimize-") as scratch:
        fetched = Path(settings.model_dir or "")
        if settings.storage_uri:
            fetched = storage.fetch(
                settings.storage_uri,
                into=Path(scratch) / "fetched",
                model_root=settings.model_root,
                allow_hosts=settings.storage_allow_hosts,
                report=lambda _: None,
                cancelled=threading.Event(),
            )
        weights = files.find_weights(fetched)
        files.check_sha256(weights, settings.sha256)
        model = Path(scratch) / "model"
        model.mkdir()
        for file in (weights, *(weights.parent / name for name in _BESIDE_WEIGHTS)):
            if file.is_file():
                (model / file.name).symlink_to(file.resolve())
        with _writing(target):
            made = not target.exists()
            target.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=target).close()
        with _alone_in(target):
            _must_be_free(target, {file.name for file in model.iterdir()}, files.SUFFIXES)
            chosen = Path(scratch) / "engine"
            chosen.mkdir()
            try:
                record = choose(settings, model / weights.name, chosen)
                _must_be_final(record)
                with _writing(target):
                    _put(model, chosen, target)
            except BaseException:
                if made:
                    with suppress(OSError):
                        target.rmdir()
                raise
    return record


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.args[0][0][-1] if isinstance(error, shutil.Error) else error.strerror or error
        raise StartError(f"{target}: expected a folder to write into: {reason}") from error


@contextmanager
def _alone_in(target: Path) -> Iterator[None]:
    """Two at work in one folder could leave one's weights beside the other's engine. The lock ends with the process."""
    with _writing(target):
        folder = os.open(target, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"{target}: expected a folder that nobody else writes into, found another `moor optimize` at work: wait until "
                "it has ended, or name another folder"
            ) from error
        except OSError as error:
            # Some network file systems lock no folders; files are put in their places whole all the same.
            _log.debug("not locked", extra={"folder": str(target), "reason": str(error)})
        else:
            for left in target.glob(f"{_STAGED}*"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(folder)


def _must_be_free(target: Path, ours: set[str], suffixes: Sequence[str]) -> None:
    """Beside another model's files it would be a matter of luck which model is served."""
    found = (each.name for each in target.iterdir() if each.suffix in suffixes or each.name in _BESIDE_WEIGHTS)
    if strangers := sorted(set(found) - ours):
        raise StartError(
            f"{target}: expected a new folder, or one with an earlier version of this model, found {', '.join(strangers)}: "
            "name another folder, or remove what is in this one"
        )


def _must_be_final(record: "Record") -> None:
    """A server that chooses for itself makes do with what it can build, and chooses again at its next start. A folder would
    be served so for ever."""
    if untried := [one for one in record.candidates if one.untried]:
        one = untried[0]
        raise EngineUntried(
            f"{one.engine} {one.precision}: expected the room and the rights to build it here, found: {one.reason}: make room "
            "where temporary files go (TMPDIR names another folder), or ask for another --engine; nothing was written"
        )


def _put(model: Path, chosen: Path, target: Path) -> None:
    from moorage_predictor.engine import artifacts

    engine = target / artifacts.FOLDER
    staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=target))
    try:
        for file in model.iterdir():
            if not (target / file.name).exists() or not file.samefile(target / file.name):
                shutil.copyfile(file, staged / file.name)
        whole = list(staged.iterdir())
        shutil.copytree(chosen, staged / artifacts.FOLDER)
        # Nothing from here on needs room on the disk.
        for file in whole:
            file.replace(target / file.name)
        if engine.exists():
            engine.replace(staged / "before")
        (staged / artifacts.FOLDER).replace(engine)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def main(argv: list[str]) -> ExitCode:
    """The exit code of the process."""
    die_with_parent()
    mode, _, folder = argv[0].partition("=") if argv else ("", "", "")
    if mode not in ("--into", "--package") or not folder:
        sys.stderr.write("usage: python -m moorage_predictor.optimize --into=FOLDER|--package=FOLDER OPTIONS\n")
        return ExitCode.INVALID_INPUT
    try:
        settings = PredictorSettings.parse(argv[1:], os.environ)
    except ValidationError as error:
        log.failure(problems(error)[0], None)
        return ExitCode.INVALID_INPUT
    log.configure(settings.log_level)
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # whatever libraries print is no part of the answer
        return _answer(settings, mode, Path(folder), answer)


def _answer(settings: PredictorSettings, mode: str, folder: Path, answer: TextIO) -> ExitCode:
    try:
        into = mode == "--into"
        record = (
            choose(settings, Path(settings.model_dir or ""), Path(folder)) if into else package(settings, Path(folder))
        )
    except StartError as error:
        log.failure(str(error), None)
        return error.exit_code
    answer.write(record.model_dump_json(indent=2) + "\n")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
