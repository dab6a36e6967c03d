"""The bytes that ask about a photo, and where the classes are found in an answer."""

import base64
import json

import pytest
from bench.predictor import dialects

FILE = bytes(range(256)) * 300
CLASSES = [(3, 0.5), (7, 0.25)]
BEST = [{"class_id": number, "confidence": value} for number, value in CLASSES]


def test_v1_holds_the_file_in_base64() -> None:
    assert json.loads(dialects.v1_body(FILE)) == {"instances": [{"b64": base64.b64encode(FILE).decode()}]}


@pytest.mark.parametrize("size", [1, 9, 100_000])
def test_the_v2_header_is_as_long_for_every_file(size: int) -> None:
    dialect = dialects.v1_and_v2()["v2"]
    body = dialect.body(b"x" * size)
    length = int(dialect.headers["Inference-Header-Content-Length"])
    tensor = json.loads(body[:length])["inputs"][0]
    assert tensor["parameters"]["binary_data_size"] == len(body) - length == size + 4
    assert int.from_bytes(body[length : length + 4], "little") == size


@pytest.mark.parametrize("answer", [[BEST], {"predictions": [BEST]}, {"predictions": [{"predictions": BEST}]}])
def test_v1_classes_are_found_in_every_servers_answer(answer: object) -> None:
    assert dialects.v1_classes(json.dumps(answer).encode()) == CLASSES


@pytest.mark.parametrize("wrap", [lambda values: values, lambda values: [values]])
def test_v2_classes_are_found_flat_and_nested(wrap: object) -> None:
    outputs = [
        {"name": name, "data": wrap([one[name] for one in BEST])}  # type: ignore[operator]
        for name in ("class_id", "confidence")
    ]
    assert dialects.v2_classes(json.dumps({"outputs": outputs}).encode()) == CLASSES
