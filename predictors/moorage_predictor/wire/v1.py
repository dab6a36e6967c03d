"""The V1 protocol's dictionaries <-> the task. Called by `wire/model.py`.

{"instances": [{"b64": "..."}], "parameters": {...}}
-> {"predictions": [{"predictions": [{"class_id", "class_name", "confidence"}, ...], ...}]}
"""

from typing import Any

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Classification, EncodedImages
from moorage_predictor.wire import options
from moorage_predictor.wire.images import MAX_BATCH, instance_file
from moorage_predictor.wire.tensor import kind, short


def images_of(body: dict[str, Any], max_image_bytes: int) -> EncodedImages:
    """The images of a V1 request.

    Raises:
        InvalidInput: not `{"instances": [{"b64": "..."}, ...]}`.
    """
    instances = body.get("instances")
    if not isinstance(instances, list) or not instances:
        raise InvalidInput('instances: expected a list of {"b64": "..."}, with at least one')
    if len(instances) > MAX_BATCH:
        raise InvalidInput(f"instances: expected at most {MAX_BATCH} in one request, found {len(instances)}")
    files = tuple(instance_file(index, instance, max_image_bytes) for index, instance in enumerate(instances))
    return EncodedImages(files)


def parameters_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """What else the request asks for; see `wire/options.py`.

    Raises:
        InvalidInput: no object, or a name that means nothing.
    """
    given = body.get("parameters")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidInput(f"parameters: expected an object, found {kind(given)}")
    if unknown := given.keys() - options.NAMES:
        raise InvalidInput(
            f"parameters: expected some of {', '.join(sorted(options.NAMES))}, found {short(sorted(unknown))}"
        )
    return given


def response(result: Classification, seconds: float) -> dict[str, Any]:
    """One prediction object for each instance; `processing_time` is that of the whole request, seconds."""
    return {
        "predictions": [
            {
                "predictions": [
                    {"class_id": int(number), "class_name": str(name), "confidence": float(confidence)}
                    for number, name, confidence in zip(numbers, names, confidences, strict=True)
                ],
                "confidence_scores": [float(confidence) for confidence in confidences],
                "processing_time": round(seconds, 6),
            }
            for numbers, names, confidences in zip(result.class_id, result.class_name, result.confidence, strict=True)
        ]
    }
