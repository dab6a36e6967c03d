"""`moor init detection`: what it trains is good, and is served as it was trained, over every protocol and by `moor up`."""

import base64
import io
import json
import struct
import threading

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from PIL import Image
from tests.e2e.predictor.conftest import Predictor
from tests.e2e.up.test_up import moor, ports

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.scaffolds.detection import SHIPPED, SIDE
from moorage_predictor.scaffolds.precision import mean_average_precision
from moorage_predictor.scaffolds.shapes import NAMES, scene
from moorage_predictor.tasks.image_classification import EncodedImages

pytestmark = pytest.mark.timeout(600)  # the first test trains

SURE = {"confidence": 0.4, "iou": 0.5, "max_detections": 50}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, and what the command said."""
    folder = tmp_path_factory.mktemp("init") / "detection"
    done = moor("init", "detection", folder, timeout_s=500)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def files(made):
    """The six sample pictures, and one that lies on its side."""
    samples = [file.read_bytes() for file in sorted((made[0] / "shapes-samples").glob("*.png"))]
    exif = Image.Exif()
    exif[0x0112] = 8
    stream = io.BytesIO()
    Image.open(io.BytesIO(samples[0])).transpose(Image.Transpose.ROTATE_270).save(stream, "JPEG", quality=95, exif=exif)
    return [*samples, stream.getvalue()]


@pytest.fixture(scope="module")
def detector(made):
    """Without a server."""
    settings = PredictorSettings(task="object-detection", model_dir=str(made[0] / "shapes"), **SURE)
    return loading.load(settings, lambda step: None, threading.Event())


@pytest.fixture(scope="module")
def offline(detector, files):
    return [detector(EncodedImages((file,)))[0] for file in files]


@pytest.fixture(scope="module")
def server(made):
    predictor = Predictor(task="object-detection", model_dir=str(made[0] / "shapes"), grpc_server="grpcio")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


def test_it_says_what_it_did_and_what_comes_next(made):
    folder, said = made
    lines = said.splitlines()
    assert "training" in lines
    assert any(line.startswith("shapes: mAP@50 0.") for line in lines)
    up = f"  moor up {folder}/shapes.yaml --model-root {folder}/shapes --photo {folder}/shapes-samples/0.png"
    assert up in lines


def test_it_finds_shapes_in_pictures_that_nobody_has_seen(detector):
    """With a generator of the test's own; COCO's mean average precision, at an overlap of a half."""
    photos = [Image.open(file).convert("RGB") for file in sorted(SHIPPED.glob("*.jpg"))][:1]
    random = np.random.default_rng(1)
    scenes = [scene(photos, (SIDE, SIDE), random) for _ in range(100)]
    inputs = []
    for one in scenes:
        stream = io.BytesIO()
        Image.fromarray(one.pixels).save(stream, "PNG")
        inputs.append(stream.getvalue())
    found = detector(EncodedImages(tuple(inputs)), detector.options.changed({"confidence": 0.01}, NAMES))
    assert mean_average_precision(scenes, found, len(NAMES)) >= 0.8


def test_the_upright_picture_and_the_one_on_its_side_have_the_same_boxes(offline):
    assert len(offline[0]) >= 1
    assert offline[-1].size == offline[0].size == (360, 480)
    assert offline[-1].boxes == pytest.approx(offline[0].boxes, abs=4)  # one is a JPEG
    assert offline[-1].class_id.tolist() == offline[0].class_id.tolist()


def by_v1(server, files):
    body = {"instances": [{"b64": base64.b64encode(file).decode()} for file in files], "parameters": SURE}
    predictions = server.post("/v1/models/cats:predict", json=body).json()["predictions"]
    found = [one["detections"] for one in predictions]
    return [
        ([item["box"] for item in one], [item["score"] for item in one], [item["class_id"] for item in one])
        for one in found
    ]


def apart(counts, boxes, scores, classes):
    """Of one request's padded arrays."""
    shape = (len(counts), -1)
    boxes, scores, classes = np.reshape(boxes, (*shape, 4)), np.reshape(scores, shape), np.reshape(classes, shape)
    return [(boxes[row, :count], scores[row, :count], classes[row, :count]) for row, count in enumerate(counts)]


def by_v2_json(server, files):
    data = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "image", "shape": [len(files)], "datatype": "BYTES", "data": data}
    answer = server.post("/v2/models/cats/infer", json={"inputs": [tensor], "parameters": SURE})
    found = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    return apart(*(found[name] for name in ("num_detections", "boxes", "scores", "class_id")))


def raw(files):
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def by_v2_binary(server, files):
    part = raw(files)
    tensor = {
        "name": "image",
        "shape": [len(files)],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(part)},
    }
    outputs = [{"name": name} for name in ("num_detections", "boxes", "scores", "class_id")]
    asked = {"inputs": [tensor], "outputs": outputs, "parameters": {**SURE, "binary_data_output": True}}
    head = json.dumps(asked).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = server.post("/v2/models/cats/infer", content=head + part, headers=headers)
    return apart(*parts(answer.content[int(answer.headers["inference-header-content-length"]) :], len(files)))


def parts(body, count):
    """Counts, boxes, scores and classes, one after the other."""
    counts, rest = np.frombuffer(body[: 8 * count], "<i8"), body[8 * count :]
    many = len(rest) // (16 + 4 + 8)
    return counts, *(
        np.frombuffer(rest[start * many : end * many], kind)
        for start, end, kind in ((0, 16, "<f4"), (16, 20, "<f4"), (20, 28, "<i8"))
    )


def by_grpc(server, files):
    """Of parameters some clients have text alone."""
    request = pb.ModelInferRequest(
        model_name="cats", inputs=[{"name": "image", "shape": [len(files)], "datatype": "BYTES"}]
    )
    for name, value in SURE.items():
        request.parameters[name].string_param = str(value)
    for name in ("num_detections", "boxes", "scores", "class_id"):
        request.outputs.add(name=name)
    request.raw_input_contents.append(raw(files))
    with grpc.insecure_channel(server.grpc) as channel:
        answer = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    return apart(*parts(b"".join(answer.raw_output_contents), len(files)))


@pytest.mark.parametrize("ask", [by_v1, by_v2_json, by_v2_binary, by_grpc])
def test_every_protocol_gives_the_boxes_that_the_model_gives_without_a_server(server, files, offline, ask):
    answers = ask(server, files)
    assert len(answers) == len(files)
    for (boxes, scores, classes), expected in zip(answers, offline, strict=True):
        assert np.array_equal(np.asarray(classes, dtype=np.int64), expected.class_id)
        assert np.allclose(np.reshape(boxes, (-1, 4)), expected.boxes, atol=1e-2)
        assert np.allclose(scores, expected.scores, atol=1e-5)


def test_grpc_gives_the_picture_as_bytes(server, files):
    request = pb.ModelInferRequest(model_name="cats", inputs=[{"name": "image", "shape": [1], "datatype": "BYTES"}])
    request.outputs.add(name="annotated")
    request.parameters["annotate"].string_param = "jpeg"
    request.inputs[0].contents.bytes_contents.append(files[0])
    with grpc.insecure_channel(server.grpc) as channel:
        answer = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    (output,) = answer.outputs
    assert output.parameters["content_type"].string_param == "image/jpeg"
    with Image.open(io.BytesIO(output.contents.bytes_contents[0])) as image:
        assert (image.format, image.size) == ("JPEG", (480, 360))


def test_moor_up_shows_what_is_found(made):
    folder, _ = made
    photo = folder / "shapes-samples" / "0.png"
    done = moor("up", folder / "shapes.yaml", "--model-root", folder / "shapes", "--photo", photo, "--once", *ports())
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    head = lines.index("0.png, 480x360")
    assert lines[head + 1].startswith("found")
    assert any(line.startswith(NAMES) for line in lines[head + 2 :])
