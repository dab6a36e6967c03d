"""The signature in an `MLmodel` file, as MLflow writes it beside a model: YAML, with a JSON text for the inputs. MLflow itself
is not imported. Called by `load.py`.
"""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular.schema import Feature, Schema, Type

FILE_NAME: Final = "MLmodel"
_TYPES: Final[dict[str, Type]] = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
}
_MOST_BYTES: Final = 16 << 20


def schema_of(file: Path) -> Schema | None:
    """None if it has no signature, or one of a whole tensor, which names no columns.

    Raises:
        LoadFailed: it cannot be read, or has a column of a type that no table of ours has.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise LoadFailed(file, f"expected at most {_MOST_BYTES} bytes")
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        inputs: Any = (document.get("signature") or {}).get("inputs") if isinstance(document, dict) else None
        columns = json.loads(inputs) if isinstance(inputs, str) else inputs
    except (OSError, ValueError, yaml.YAMLError, AttributeError, RecursionError) as error:
        raise LoadFailed(file, "not a readable MLmodel file") from error
    if not columns or not isinstance(columns, list):
        return None
    if any(not isinstance(column, dict) or column.get("type") == "tensor" for column in columns):
        return None
    return Schema([_feature(file, number, column) for number, column in enumerate(columns)])


def _feature(file: Path, number: int, column: dict[str, Any]) -> Feature:
    name = column.get("name", f"column_{number}")
    kind = _TYPES.get(str(column.get("type")))
    if kind is None:
        raise LoadFailed(
            file, f"signature: {name}: expected one of {', '.join(_TYPES)}, found {str(column.get('type'))[:40]!r}"
        )
    required = column.get("required", not column.get("optional", False))
    return Feature(name=str(name), type=kind, nullable=not required)
