"""Object detection over the protocols: what a request may say, and what the answer holds."""

import base64
import io
import json
import struct
import threading

import numpy as np
import pytest
from PIL import Image
from tests.unit.predictor.detectors import NAMES, SIDE, write_program
from tests.unit.predictor.served import InProcess

from moorage.api.predictor import PredictorSettings
from moorage_predictor.tasks.object_detection import load as loading
from moorage_predictor.wire.detection import DetectorModel
from moorage_predictor.wire.tensor import elements

V1, V2 = "/v1/models/cats:predict", "/v2/models/cats/infer"
RED, GREEN = [12, 4, 28, 20], [36, 36, 52, 52]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marks")
    write_program(folder)
    (folder / "labels.txt").write_text("\n".join(NAMES))
    return folder


@pytest.fixture
def served(model_dir):
    settings = PredictorSettings(task="object-detection", model_name="cats", model_dir=str(model_dir))
    detector = loading.load(settings, model_dir, lambda step: None, threading.Event())
    model = DetectorModel(detector, settings)
    yield InProcess(model)
    model.stop()


def photo(marks=True, file_format="PNG", **options):
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    if marks:
        pixels[8:16, 16:24, 0] = 230
        pixels[40:48, 40:48, 1] = 200
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


def text(file):
    return base64.b64encode(file).decode()


def v1(*files, **parameters):
    body = {"instances": [{"b64": text(file)} for file in files]}
    return {**body, "parameters": parameters} if parameters else body


def v2(*files, outputs=(), **parameters):
    return {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(files)], "data": list(map(text, files))}],
        "outputs": [one if isinstance(one, dict) else {"name": one} for one in outputs],
        "parameters": parameters,
    }


def outputs_of(answer):
    return {one["name"]: one for one in answer.json()["outputs"]}


async def test_v1_gives_a_list_of_boxes_for_each_instance(served):
    answer = await served.post(V1, json=v1(photo(), photo(marks=False)))
    first, second = answer.json()["predictions"]
    assert first["processing_time"] >= 0
    assert (first["width"], first["height"]) == (SIDE, SIDE)
    assert first["detections"] == [
        {"class_id": 0, "label": "circle", "score": pytest.approx(230 / 255), "box": RED},
        {"class_id": 1, "label": "square", "score": pytest.approx(200 / 255), "box": GREEN},
    ]
    assert second["detections"] == []
    assert {"yolo", "annotated"}.isdisjoint(first)


async def test_v1_takes_options_and_gives_yolo_text_and_the_picture(served):
    wanted = {"classes": ["square"], "yolo": True, "yolo_confidence": True, "annotate": "jpeg"}
    (found,) = (await served.post(V1, json=v1(photo(), **wanted))).json()["predictions"]
    assert [one["box"] for one in found["detections"]] == [GREEN]
    assert found["yolo"].startswith("1 0.687500 0.687500 0.250000 0.250000 0.7843")
    with Image.open(io.BytesIO(base64.b64decode(found["annotated"]["b64"]))) as image:
        assert (image.format, image.size) == ("JPEG", (SIDE, SIDE))


async def test_the_picture_itself_may_be_the_body(served):
    answer = await served.post(
        V1, content=photo(file_format="WEBP", lossless=True), headers={"Content-Type": "image/webp"}
    )
    assert [one["box"] for one in answer.json()["predictions"][0]["detections"]] == [RED, GREEN]
    answer = await served.post(V2, content=photo(), headers={"Content-Type": "image/png"})
    assert outputs_of(answer)["boxes"]["data"] == [*RED, *GREEN]


async def test_v2_gives_arrays_that_fewer_boxes_are_filled_up_in(served):
    answer = outputs_of(await served.post(V2, json=v2(photo(), photo(marks=False))))
    assert {name: one["shape"] for name, one in answer.items()} == {
        "num_detections": [2],
        "boxes": [2, 2, 4],
        "scores": [2, 2],
        "class_id": [2, 2],
        "class_name": [2, 2],
    }
    assert answer["num_detections"]["data"] == [2, 0]
    assert answer["boxes"]["data"] == [*RED, *GREEN, *[0] * 8]
    assert answer["scores"]["data"] == pytest.approx([230 / 255, 200 / 255, 0, 0])
    assert answer["class_id"]["data"] == [0, 1, -1, -1]
    assert answer["class_name"]["data"] == ["circle", "square", "", ""]


async def test_nothing_found_is_200_with_nothing(served):
    for parameters in ({}, {"confidence": 1}):
        answer = await served.post(V2, json=v2(photo(marks=bool(parameters)), **parameters))
        assert answer.status_code == 200
        found = outputs_of(answer)
        assert (found["num_detections"]["data"], found["boxes"]["shape"], found["boxes"]["data"]) == (
            [0],
            [1, 0, 4],
            [],
        )
    answer = await served.post(V1, json=v1(photo(), confidence=1, yolo=True))
    assert answer.json()["predictions"][0]["detections"] == []
    assert answer.json()["predictions"][0]["yolo"] == ""


async def test_v2_options_are_parameters(served):
    answer = await served.post(
        V2, json=v2(photo(), outputs=["class_name"], classes="triangle, 1", confidence=0.5, iou=1)
    )
    assert outputs_of(answer)["class_name"]["data"] == ["square"]
    answer = await served.post(V2, json=v2(photo(), outputs=["yolo"], max_detections=1))
    assert outputs_of(answer)["yolo"]["data"] == ["0 0.312500 0.187500 0.250000 0.250000"]


async def test_the_picture_is_base64_in_json_and_bytes_in_bytes(served):
    in_json = outputs_of(await served.post(V2, json=v2(photo(), outputs=["annotated"])))["annotated"]
    assert in_json["parameters"] == {"content_type": "image/png"}
    asked = v2(photo(), outputs=[{"name": "annotated", "parameters": {"binary_data": True}}])
    answer = await served.post(V2, json=asked)
    start = int(answer.headers["Inference-Header-Content-Length"])
    described = json.loads(answer.content[:start])["outputs"][0]
    (file,) = elements("annotated", answer.content[start:], 1)
    assert described["parameters"]["binary_data_size"] == len(file) + 4
    assert base64.b64decode(in_json["data"][0]) == file
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, image.size) == ("PNG", (SIDE, SIDE))


async def test_binary_requests_and_pixels_give_the_same(served):
    file, expected = photo(), outputs_of(await served.post(V2, json=v2(photo())))
    head = {
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(file) + 4}}
        ]
    }
    start = json.dumps(head).encode()
    body = start + struct.pack("<I", len(file)) + file
    answer = await served.post(V2, content=body, headers={"Inference-Header-Content-Length": str(len(start))})
    assert outputs_of(answer) == expected
    pixels = np.asarray(Image.open(io.BytesIO(file)))[None]
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    assert outputs_of(await served.infer(tensor)) == expected


async def test_boxes_are_of_the_picture_as_it_is_seen(served):
    """EXIF says that it lies on its side; the boxes are those of the upright one."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(io.BytesIO(photo()))
    stream = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    answer = await served.post(V1, json=v1(stream.getvalue()))
    assert [one["box"] for one in answer.json()["predictions"][0]["detections"]] == [RED, GREEN]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"confidence": 1.5}, "confidence: expected a number from 0 to 1, found 1.5"),
        ({"iou": -1}, "iou: expected a number from 0 to 1, found -1"),
        ({"max_detections": 0}, "max_detections: expected an integer from 1 to 1000, found 0"),
        (
            {"classes": "circel"},
            "classes: expected names of this model, or numbers from 0 to 2, found 'circel'; did you mean circle?",
        ),
        ({"yolo_confidence": "yes"}, "yolo_confidence: expected true or false, found 'yes'"),
        ({"annotate": "gif"}, "annotate: expected png or jpeg, found 'gif'"),
    ],
)
async def test_an_option_that_is_wrong_is_400_in_both_protocols(served, parameters, words):
    for path, body in ((V1, v1(photo(), **parameters)), (V2, v2(photo(), **parameters))):
        answer = await served.post(path, json=body)
        assert (answer.status_code, answer.json()) == (400, {"error": words, "code": "INVALID_ARGUMENT"})


async def test_v1_refuses_an_option_that_there_is_not(served):
    answer = await served.post(V1, json=v1(photo(), confidance=0.5))
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("yolo, yolo_confidence, annotate, found 'confidance'")
    answer = await served.post(V1, json={**v1(photo()), "parameters": [1]})
    assert answer.json()["error"] == "parameters: expected an object, found a list"


async def test_v2_refuses_an_output_that_there_is_not(served):
    answer = await served.post(V2, json=v2(photo(), outputs=["masks"]))
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("class_name, yolo, annotated, found 'masks'")


async def test_a_prepared_tensor_is_refused(served):
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": [0.0] * 12}
    answer = await served.infer(tensor)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("image: expected datatype BYTES or UINT8, found FP32")


@pytest.mark.parametrize(
    "file", [b"", b"no image", photo()[:60], photo(file_format="GIF")], ids=["empty", "text", "cut", "gif"]
)
async def test_what_is_no_image_is_400(served, file):
    for path, body in ((V1, v1(file)), (V2, v2(file))):
        answer = await served.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IMAGE")


async def test_the_model_says_what_it_takes_and_gives(served):
    said = (await served.get("/v2/models/cats")).json()
    assert [(one["datatype"], one["shape"]) for one in said["inputs"]] == [("BYTES", [-1]), ("UINT8", [-1, -1, -1, 3])]
    assert [one["name"] for one in said["outputs"]][-2:] == ["yolo", "annotated"]
    config = (await served.get("/v2/models/cats/config")).json()["parameters"]
    told = {name: one["string_value"] for name, one in config.items()}
    assert told["engine"] == "torch.export"
    assert (told["confidence"], told["iou"], told["classes"]) == ("0.25", "0.5", "circle,square,triangle")


async def test_many_pictures_are_not_drawn_in_one_request(served):
    files = [photo()] * 9
    for path, body in ((V1, v1(*files, annotate="png")), (V2, v2(*files, outputs=["annotated"]))):
        answer = await served.post(path, json=body)
        assert answer.status_code == 400
        assert answer.json()["error"] == "annotate: expected at most 8 pictures in one request, found 9"
    assert len((await served.post(V1, json=v1(*files))).json()["predictions"]) == 9
