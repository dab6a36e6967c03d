"""`spec.model.imageClassification`, `.objectDetection` or `.tabular` -> settings of the predictor. Called by `predictor_settings.py`."""

import json
from typing import Final

from moorage.api.v1alpha1.model import Model
from moorage.api.v1alpha1.tasks import Column, ImageClassification, Tabular

_NAMES: Final = {"top_features": "top_k", "class_names": "class_name", "columns": "column"}
"""Settings that have other names than their fields; the rest have the same."""


def task_options(model: Model) -> dict[str, object]:
    """Of the model's task, what the spec says; nothing where it is silent."""
    section = model.image_classification or model.object_detection or model.tabular
    if section is None:
        return {}
    stated = {_NAMES.get(name, name): getattr(section, name) for name in type(section).model_fields}
    if isinstance(section, ImageClassification) and section.features is not None:
        stated["features"] = "on" if section.features else "off"
    if isinstance(section, Tabular):
        stated["column"] = section.columns and tuple(_column(column) for column in section.columns)
        stated["class_name"] = section.class_names and tuple(section.class_names)
    return {name: value for name, value in stated.items() if value is not None}


def _column(column: Column) -> str:
    """As `--column` takes it in JSON: names and values may hold whatever they like."""
    stated = {"name": column.name, "type": column.type, **column.model_dump(exclude_none=True)}
    return json.dumps(stated, ensure_ascii=False, separators=(",", ":"))
