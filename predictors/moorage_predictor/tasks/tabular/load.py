"""Settings and files -> a warm `TabularModel`. Named in `tasks/table.py`; runs in the thread that loads.

formats.find_model -> sha256 -> the schema that is stated -> estimators/* -> the schema that holds -> background -> one row
"""

import csv
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor.engine import cores
from moorage_predictor.engine.files import check_sha256
from moorage_predictor.errors import InvalidInput, LoadFailed, MoorageError
from moorage_predictor.tasks.tabular import flags, mlflow_model, probes, table
from moorage_predictor.tasks.tabular import schema as schemas
from moorage_predictor.tasks.tabular.estimators import Facts, Options, opener
from moorage_predictor.tasks.tabular.formats import find_model
from moorage_predictor.tasks.tabular.model import Levels, TabularModel
from moorage_predictor.tasks.tabular.schema import Feature, Schema, Type

BACKGROUND: Final = "background.csv"
_MOST_BACKGROUND: Final = 1000
_TYPES: Final[dict[type, Type]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_EXTRA: Final = "pip install 'moorage[predictor,tabular]'"


def load(
    settings: PredictorSettings,
    path: Path,
    report: Callable[[LoadProgress], None],
    cancelled: threading.Event,
) -> TabularModel:
    """The model at `path`, a folder or a file.

    Raises:
        LoadFailed: it cannot be served; the message names the file and the reason.
    """
    report(LoadProgress("weights", 0, 1))
    file, kind = find_model(path)
    if kind == "pickle" and not settings.allow_unsafe_formats:
        raise LoadFailed(
            file,
            "refused: a pickle can run code when it is opened. Save the model as skops, as the library's own JSON or text, or as "
            "ONNX; or say --allow-unsafe-formats=true (allowUnsafeFormats) if you trust whoever made it",
        )
    check_sha256(file, settings.sha256)
    folder = file.parent
    stated = _stated(settings, folder)
    options = Options(stated, settings.trusted_type, folder, cores.available(), settings.explain_seed)
    try:
        estimator = opener(kind)(file, options)
    except ImportError as error:
        raise LoadFailed(file, f"a {kind} model needs the package {error.name}: {_EXTRA}") from error
    if cancelled.is_set():
        raise LoadFailed(file, "loading was cancelled")
    schema = _agreed(file, stated, estimator.facts)
    background = _background(folder / BACKGROUND, schema)
    levels = Levels(settings.medium_confidence, settings.high_confidence)
    model = TabularModel(estimator, schema, background, levels, format=kind, seed=settings.explain_seed)
    report(LoadProgress("weights", 1, 1))
    report(LoadProgress("warmup", 0, 1))
    try:
        model.predict(model.usual())
        probes.check_output(file, estimator, background)
    except LoadFailed:
        raise
    except MoorageError as error:
        raise LoadFailed(file, f"it does not predict: {error}") from error
    except Exception as error:
        words = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LoadFailed(file, f"it does not predict a row of {len(schema)} features: {words}") from error
    report(LoadProgress("warmup", 1, 1))
    return model


def _stated(settings: PredictorSettings, folder: Path) -> Schema | None:
    """What people have said of the features: options, else schema.json, else an MLflow signature."""
    found: Schema | None = None
    if (folder / schemas.FILE_NAME).is_file():
        found = schemas.read(folder / schemas.FILE_NAME)
    elif (folder / mlflow_model.FILE_NAME).is_file():
        found = mlflow_model.schema_of(folder / mlflow_model.FILE_NAME)
    classes = schemas.classes_of(list(settings.class_name) or None, "--class-name") or (
        found.classes if found is not None else None
    )
    output = settings.model_output or (found.output if found is not None else None)
    if settings.column:
        where = "--column"
        features = schemas.features_of(
            [flags.feature_of(text).model_dump(exclude_unset=True) for text in settings.column], where
        )
        return Schema(features, classes, output)
    if found is not None:
        return Schema(found.features, classes, output)
    return Schema((), classes, output) if classes or output else None


def _agreed(file: Path, stated: Schema | None, facts: Facts) -> Schema:
    """What people and the model say together.

    Raises:
        LoadFailed: they contradict each other, or neither knows how many features there are.
    """
    features = stated.features if stated is not None else ()
    if not features:
        if facts.count is None and not facts.names:
            raise LoadFailed(
                file, "the model does not say which features it takes: list them in schema.json or with --column"
            )
        names = facts.names or tuple(f"f{number}" for number in range(facts.count or 0))
        features = tuple(_of_model(file, name, facts.enums.get(number)) for number, name in enumerate(names))
    if facts.count is not None and len(features) != facts.count:
        raise LoadFailed(file, f"the model takes {facts.count} features, the schema has {len(features)}")
    if facts.names:
        by_name = {_plain(feature.name): feature for feature in features}
        if unknown := [name for name in facts.names if _plain(name) not in by_name]:
            raise LoadFailed(file, f"the model was trained with a column {unknown[0]!r}, which the schema has not")
        features = tuple(by_name[_plain(name)] for name in facts.names)
    features = tuple(
        _with_enum(file, feature, facts.enums[number]) if number in facts.enums else feature
        for number, feature in enumerate(features)
    )
    classes = stated.classes if stated is not None else None
    if facts.classes is None and classes:
        raise LoadFailed(file, "the model gives numbers, the schema has classes")
    if facts.classes and classes:
        _same_classes(file, classes, facts)
    named = bool(facts.names or (stated is not None and stated.features))
    return Schema(features, classes or facts.classes, stated.output if stated is not None else None, named=named)


def _same_classes(file: Path, stated: tuple[str, ...], facts: Facts) -> None:
    """Classes may be renamed, all of them; names that the model knows must stand where the model has them.

    Raises:
        LoadFailed: they do not, or there are more or fewer.
    """
    own = facts.classes or ()
    if len(stated) != len(own):
        raise LoadFailed(file, f"the model has {len(own)} classes, the schema {len(stated)}")
    common = set(own) & set(stated)
    if stated != own and common and (not facts.numbered or len(common) == len(own)):
        shown = ", ".join(own[:10]) + (", ..." if len(own) > 10 else "")
        raise LoadFailed(
            file,
            f"the model's classes are {shown}, in this order; the schema lists "
            f"{'them in another order' if len(common) == len(own) else 'some of them and others'}: "
            "write them as the model has them, give all of them new names, or leave them out",
        )


def _plain(name: str) -> str:
    """LightGBM writes underscores for spaces."""
    return name.replace(" ", "_")


def _of_model(file: Path, name: str, enum: tuple[Any, ...] | None) -> Feature:
    """A feature of which nobody said more than the model.

    Raises:
        LoadFailed: its categories are of no type that a column has.
    """
    if enum is None:
        return Feature(name=name)
    kind = _TYPES.get(type(enum[0])) if enum and len({*map(type, enum)}) == 1 else None
    if kind is None:
        raise LoadFailed(
            file, f"column {name!r}: expected categories that are all strings, integers, numbers or booleans"
        )
    return Feature(name=name, type=kind, enum=enum)


def _with_enum(file: Path, feature: Feature, own: tuple[Any, ...]) -> Feature:
    """The feature with the values that the model knows, if nobody has said which there are.

    Raises:
        LoadFailed: the schema lists one that the model does not know, or its type is another.
    """
    if feature.enum is not None:
        if unknown := [value for value in feature.enum if value not in own]:
            raise LoadFailed(
                file, f"column {feature.name!r}: the model was not trained on {unknown[0]!r}, which enum has"
            )
        return feature
    try:
        return Feature.model_validate({**feature.model_dump(exclude_unset=True), "enum": own})
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise LoadFailed(file, f"column {feature.name!r}, with the categories of the model: {told}") from error


def _background(file: Path, schema: Schema) -> table.Table:
    """Usual rows: those of background.csv, else one row of defaults, of middles of the bounds, of first values, of zeros.

    Raises:
        LoadFailed: the file's columns or values are not the schema's.
    """
    if not file.is_file():
        return table.sample(schema)
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            head, *lines = [row for row, _ in zip(csv.reader(stream), range(_MOST_BACKGROUND + 1), strict=False)]
        types = [schema.features[schema.index[name]].type for name in head]
        rows = [{name: _cell(kind, text) for name, kind, text in zip(head, types, line, strict=True)} for line in lines]
        return table.of_rows(schema, rows)
    except InvalidInput as error:
        raise LoadFailed(file, str(error)) from error
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise LoadFailed(file, "expected a line of column names, then lines of values") from error


def _cell(kind: str, text: str) -> Any:
    if text == "":
        return None
    if kind == "string":
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(
            text.lower(), float(text) if text in ("0", "1", "0.0", "1.0") else text
        )
    return float(text)
