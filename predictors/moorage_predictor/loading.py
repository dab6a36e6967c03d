"""Settings -> something that answers: fetch the files, load, name the classes. Runs in the runtime's load thread."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor import storage
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks import table

Report = Callable[[LoadProgress], None]


def load(settings: PredictorSettings, report: Report, cancelled: threading.Event) -> Any:
    """A warm model of a built-in task (see `tasks/table.py`), or an object of the user's class, as `wire/adapt.py` takes it.

    Raises:
        StartError: the model cannot be served; the message names the file, URI or class and the reason.
    """
    if not settings.built_in:
        return _custom(settings, report, cancelled)
    loader = table.of(settings.task, settings.runtime).loader()
    with tempfile.TemporaryDirectory(prefix="moorage-model-") as folder:
        return loader(settings, _files(settings, Path(folder), report, cancelled), report, cancelled)


def _files(settings: PredictorSettings, into: Path, report: Report, cancelled: threading.Event) -> Path:
    if settings.storage_uri is None:
        return Path(settings.model_dir or "")
    return storage.fetch(
        settings.storage_uri,
        into=into,
        model_root=settings.model_root,
        allow_hosts=settings.storage_allow_hosts,
        report=report,
        cancelled=cancelled,
        also=table.of(settings.task).files if settings.built_in else (),
    )


def classifier(settings: PredictorSettings, path: Path, report: Report, cancelled: threading.Event) -> Any:
    """Task `image-classification`: a warm `ImageClassifier` of the files at `path`.

    Raises:
        LoadFailed: the files are not what they should be.
    """
    from moorage_predictor.engine import network
    from moorage_predictor.tasks.image_classification import ImageClassifier, Limits, prepare
    from moorage_predictor.tasks.image_classification.labels import class_names

    with _meanwhile(prepare.warm_up):
        loaded = network.load(
            path,
            architecture=settings.architecture,
            sha256=settings.sha256,
            report=report,
            cancelled=cancelled,
            options=engine_options(settings),
        )
    names = class_names(loaded.num_classes, loaded.hub, loaded.weights)
    limits = Limits(settings.max_image_bytes, settings.max_image_side)
    return ImageClassifier(
        loaded,
        names,
        top_k=settings.top_k,
        limits=limits,
        threshold=settings.confidence_threshold,
        engine=loaded.describe(),
        inspect=loaded.inspect,
    )


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """In a thread of its own, and done at the end. What fails there fails again where somebody is told of it."""

    def quietly() -> None:
        with suppress(Exception):
            work()

    thread = threading.Thread(target=quietly, name="warm-up")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def engine_options(settings: PredictorSettings) -> Any:
    """The part of the settings that `engine` reads, as its `EngineOptions`."""
    from moorage_predictor.engine.options import EngineOptions, default_cache_dir
    from moorage_predictor.optimize import run_chooser

    return EngineOptions(
        precision=settings.precision,
        engine=settings.engine,
        features=settings.features,
        cache_dir=Path(settings.engine_cache_dir) if settings.engine_cache_dir else default_cache_dir(),
        budget_s=settings.auto_budget_s,
        choose=partial(run_chooser, settings),
    )


def _custom(settings: PredictorSettings, report: Report, cancelled: threading.Event) -> Any:
    from moorage_predictor.engine import files
    from moorage_predictor.tasks.custom import construct, import_class

    path: Path | None = None
    if settings.storage_uri or settings.model_dir:
        # In the process's own temporary folder: the class may read its files whenever it likes.
        path = _files(settings, Path(tempfile.mkdtemp(prefix="model-")), report, cancelled)
        if settings.sha256 is not None:
            files.check_sha256(files.find_weights(path), settings.sha256)
    elif settings.sha256 is not None:
        raise LoadFailed("--sha256", "expected --model-dir or --storage-uri with it: there is no weight file to check")
    report(LoadProgress("weights", 0, 1))
    made = construct(import_class(settings.task), settings.model_name, path)
    report(LoadProgress("weights", 1, 1))
    return made
