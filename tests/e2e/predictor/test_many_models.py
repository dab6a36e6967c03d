"""One process, many models: hot swap and eviction under load, loads on demand, and models that cannot be loaded."""

import base64
import io
import os
import pickle
import random
import re
import shutil
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
import torch
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.e2e.predictor.model_folders import ModelFolders, version_of

SWAPS = 20
PATIENCE_S = 120


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 90)).save(stream, "PNG")
    return stream.getvalue()


FILE = picture()
B64 = base64.b64encode(FILE).decode()


class Refused(Exception):
    """An answer that is an error: its status and code."""


class Client:
    """One connection of each protocol to one server; every call gives the class names of the answer."""

    def __init__(self, predictor):
        self._http = httpx.Client(base_url=predictor.url, timeout=PATIENCE_S)
        self._channel = grpc.insecure_channel(predictor.grpc)
        self._stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def v1(self, model, version=""):
        answer = self._http.post(f"/v1/models/{model}:predict", json={"instances": [{"b64": B64}]})
        self._check(answer)
        [prediction] = answer.json()["predictions"]
        return [one["class_name"] for one in prediction["predictions"]]

    def v2(self, model, version=""):
        path = f"/v2/models/{model}/versions/{version}/infer" if version else f"/v2/models/{model}/infer"
        asked = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [B64]}]}
        answer = self._http.post(path, json=asked)
        self._check(answer)
        [names] = [one["data"] for one in answer.json()["outputs"] if one["name"] == "class_name"]
        assert {answer.json()["model_version"]} == {name.split("/")[1] for name in names}
        return names

    def grpc(self, model, version=""):
        request = pb.ModelInferRequest(model_name=model, model_version=version)
        tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(FILE)
        try:
            answer = self._stub.ModelInfer(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from error
        [names] = [one.contents.bytes_contents for one in answer.outputs if one.name == "class_name"]
        names = [name.decode() for name in names]
        assert {answer.model_version} == {name.split("/")[1] for name in names}
        return names

    def _check(self, answer):
        if answer.status_code != 200:
            assert answer.status_code != 503 or answer.headers["retry-after"]
            raise Refused(answer.status_code, answer.json()["code"])

    def close(self):
        self._http.close()
        self._channel.close()


PROTOCOLS = ("v1", "v2", "grpc")


@pytest.fixture
def folders(tmp_path, tiny_model):
    (tmp_path / "models").mkdir()
    return ModelFolders(tmp_path / "models", tiny_model / "model.safetensors")


@pytest.fixture
def serve(start, folders):
    """A predictor of the model repository, ready."""

    def run(**options):
        predictor = start(
            **{"model_repository": str(folders.root), "control_endpoints": True, "shutdown_grace_s": 5, **options}
        )
        predictor.until("/v2/health/ready")
        return predictor

    return run


def index(predictor):
    rows = predictor.post("/v2/repository/index").json()
    return {f"{row['name']}/{row['version']}": (row["state"], row["reason"]) for row in rows}


def until_state(predictor, version, state):
    deadline = time.monotonic() + PATIENCE_S
    while index(predictor).get(version, ("", ""))[0] != state:
        assert time.monotonic() < deadline, (version, index(predictor), predictor.stderr())
        time.sleep(0.02)


def metric(predictor, name, **labels):
    """The sum of a metric's samples that have these labels."""
    text = predictor.get("/metrics").text
    rows = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
    chosen = [row for row in rows if all(f'{key}="{value}"' in row for key, value in labels.items())]
    return sum(float(row.rsplit(" ", 1)[1]) for row in chosen)


def test_twenty_swaps_under_load_fail_no_request_and_mix_no_answer(serve, folders):
    folders.put("cats", "1")
    predictor = serve(preload=("cats",), max_models=3, repository_poll_s=0.2)
    reported, stop = [1], threading.Event()
    seen = {protocol: [] for protocol in PROTOCOLS}
    troubles = []

    def ask(protocol):
        client = Client(predictor)
        call, last = getattr(client, protocol), 1
        while not stop.is_set():
            least = reported[-1]
            try:
                version = int(version_of(call("cats"), "cats"))
                assert version >= least, f"{protocol}: {version} answered after {least} was reported"
                assert version >= last, f"{protocol}: {version} answered after {last} had"
            except BaseException as error:  # noqa: BLE001 - told by the test's own thread
                troubles.append(repr(error))
                return
            last = version
            seen[protocol].append(version)
        client.close()

    clients = [threading.Thread(target=ask, args=(protocol,)) for protocol in 2 * PROTOCOLS]
    for client in clients:
        client.start()
    for version in range(2, SWAPS + 2):
        folders.put("cats", str(version))
        if version % 2:  # by hand
            answer = predictor.post("/v2/repository/models/cats/load")
            assert (answer.status_code, answer.json()) == (200, {"name": "cats", "load": True})
        else:
            until_state(predictor, f"cats/{version}", "READY")
        reported.append(version)
        if version > 4:  # an old one goes while others are asked
            shutil.rmtree(folders.root / "cats" / str(version - 4))
        answered = {protocol: len(versions) for protocol, versions in seen.items()}
        deadline = time.monotonic() + PATIENCE_S
        while not troubles and any(len(seen[protocol]) < answered[protocol] + 2 for protocol in PROTOCOLS):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert troubles == []
    stop.set()
    for client in clients:
        client.join(PATIENCE_S)
    assert troubles == []
    for protocol in PROTOCOLS:
        assert set(seen[protocol]) >= set(range(2, SWAPS + 1))
    codes = re.findall(r'moorage_requests_total\{code="(\w+)"', predictor.get("/metrics").text)
    assert set(codes) <= {"200", "OK"}
    assert sum(state == "READY" for state, _ in index(predictor).values()) <= 3
    assert predictor.get("/v2/models/cats/versions/1/ready").status_code == 404


def test_models_make_room_for_each_other_under_load(serve, folders):
    names = ["ants", "bees", "cats", "dogs"]
    for name in names:
        folders.put(name, "1")
    predictor = serve(max_models=2)
    answered, full = [], []

    def ask(seed):
        chance, client = random.Random(seed), Client(predictor)
        for _ in range(15):
            name = chance.choice(names)
            try:
                assert version_of(getattr(client, chance.choice(PROTOCOLS))(name), name) == "1"
                answered.append(name)
            except Refused as refused:
                full.append(refused.args[0])
                time.sleep(0.05)
        client.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert len(answered) + len(full) == 60
    assert set(full) <= {503, "UNAVAILABLE"}
    assert len(answered) >= 20
    assert metric(predictor, "moorage_model_evictions_total") >= 2
    assert sum(state == "READY" for state, _ in index(predictor).values()) <= 2
    client = Client(predictor)
    for name in names:  # alone, each is found room for
        assert version_of(client.v1(name), name) == "1"
    client.close()
    assert predictor.get("/v2/health/ready").status_code == 200


def test_twenty_first_requests_at_once_are_one_load_and_disturb_nobody(serve, folders):
    folders.put("cats", "1")
    folders.put("dogs", "1")
    predictor = serve(preload=("dogs",))

    def ask(number):
        client = Client(predictor)
        try:
            return version_of(
                getattr(client, PROTOCOLS[number % 3])("cats" if number < 20 else "dogs"),
                "cats" if number < 20 else "dogs",
            )
        finally:
            client.close()

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, range(24))) == ["1"] * 24
    assert metric(predictor, "moorage_model_loads_total", model="cats", outcome="loaded") == 1
    assert metric(predictor, "moorage_model_loads_total", outcome="failed") == 0


def test_versions_are_asked_for_by_name_in_every_protocol(serve, folders):
    for version in ("2", "9", "10"):
        folders.put("cats", version)
    predictor = serve()
    client = Client(predictor)
    for protocol in PROTOCOLS:
        assert version_of(getattr(client, protocol)("cats"), "cats") == "10"
    for protocol in ("v2", "grpc"):
        for version in ("2", "9", "10"):
            assert version_of(getattr(client, protocol)("cats", version), "cats") == version
        with pytest.raises(Refused, match="NOT_FOUND"):
            getattr(client, protocol)("cats", "3")
    client.close()
    assert predictor.get("/v2/models/cats").json()["versions"] == ["2", "9", "10"]


class Opened:
    """What a pickle makes when it is read as one: a file."""

    def __init__(self, canary):
        self._canary = str(canary)

    def __reduce__(self):
        return open, (self._canary, "w")


def spoil(folder, how, canary):
    """Make a good version a bad one. Gives what the reason says."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "missing":
        weights.unlink()
        return r"no weight file in this folder"
    if how == "checksum":
        (folder / "SHA256SUMS").write_text(f"{'0' * 64}  model.safetensors\n")
        return r"model\.safetensors: sha256: expected 0{64}, found [0-9a-f]{64}"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
        return r"not a complete safetensors file"
    if how == "header":
        weights.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
        return r"not a complete safetensors file"
    if how == "nan":
        tensors = load_file(weights)
        tensors["head.weight"] = tensors["head.weight"].clone()
        tensors["head.weight"][3, 3] = torch.nan
        save_file(tensors, weights)
        return r"head\.weight contains NaN"
    if how == "classes":
        config.write_text(config.read_text().replace('"num_classes": 10', '"num_classes": 11'))
        return r"expected 11 classes \(config\.json\), found 10 in head\.weight"
    evil = pickle.dumps(Opened(canary))
    if how == "pickle as safetensors":
        weights.write_bytes(evil)
        return r"not a complete safetensors file"
    weights.unlink()
    if how.startswith("pickle as "):
        suffix = how.removeprefix("pickle as ")
        (folder / f"model{suffix}").write_bytes(evil)
        return r"checkpoint|no weight file"
    if how == "torch pickle":
        torch.save({"head.weight": Opened(canary)}, folder / "model.pth")
        return r"refused: not only tensors"
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../../../escaped")
        archive.addfile(member, io.BytesIO(b""))
    return r"no weight file in this folder"


BAD = (
    "missing",
    "checksum",
    "truncated",
    "header",
    "nan",
    "classes",
    "pickle as safetensors",
    "pickle as .pth",
    "pickle as .bin",
    "pickle as .pkl",
    "pickle as .joblib",
    "torch pickle",
    "archive",
)


def test_models_that_cannot_be_loaded_say_why_and_harm_nobody(serve, folders, tmp_path):
    canary = tmp_path / "canary"
    reasons = {}
    for number, how in enumerate(BAD):
        reasons[f"bad-{number}"] = spoil(folders.put(f"bad-{number}", "1"), how, canary)
    folders.put("good", "1")
    predictor = serve()
    client = Client(predictor)
    for name, reason in reasons.items():
        answer = predictor.post(f"/v2/models/{name}/infer", json={"inputs": []})
        assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_LOAD_FAILED"), name
        assert re.search(reason, answer.json()["error"]), (reason, answer.json())
        assert str(tmp_path) not in answer.text
        answer = predictor.get(f"/v2/models/{name}/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_LOAD_FAILED")
        assert predictor.get("/v2/health/live").status_code == 200
        with pytest.raises(Refused, match="UNAVAILABLE"):
            client.grpc(name)
        state, told = index(predictor)[f"{name}/1"]
        assert state == "UNAVAILABLE"
        assert re.search(reason, told)
        assert str(tmp_path) not in told
        assert metric(predictor, "moorage_model_loads_total", model=name, outcome="failed") == 1
    assert version_of(client.v1("good"), "good") == "1"
    client.close()
    assert not canary.exists()
    assert not (tmp_path / "escaped").exists()
    assert len(predictor.until_logged('"message": "load failed"', len(BAD))) == len(BAD)
    assert "Traceback" not in predictor.stderr()


def test_a_preloaded_model_that_cannot_be_loaded_keeps_the_process_alive_and_not_ready(start, folders, tmp_path):
    spoil(folders.put("cats", "1"), "truncated", tmp_path / "canary")
    predictor = start(model_repository=str(folders.root), preload=("cats",), repository_poll_s=0.2)
    predictor.until("/v2/models/cats/ready", 503)
    until_state(predictor, "cats/1", "UNAVAILABLE")
    while "MODEL_LOAD_FAILED" not in (answer := predictor.until("/v2/health/ready", 503)).text:
        time.sleep(0.05)
    assert "not a complete safetensors file" in answer.json()["error"]
    assert predictor.get("/v2/health/live").status_code == 200
    folders.put("cats", "2")  # which mends it
    predictor.until("/v2/health/ready")


@pytest.mark.parametrize("how", ["poll", "load"])
def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(serve, folders, tmp_path, how):
    folders.put("cats", "1")
    predictor = serve(preload=("cats",), repository_poll_s=0.2 if how == "poll" else 0)
    client = Client(predictor)
    incoming = folders.prepare("cats", "2")
    spoil(incoming, "nan", tmp_path / "canary")
    incoming.rename(folders.root / "cats" / "2")
    if how == "load":
        answer = predictor.post("/v2/repository/models/cats/load")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")
        assert "head.weight contains NaN" in answer.json()["error"]
    deadline = time.monotonic() + PATIENCE_S
    while "could not be loaded" not in index(predictor).get("cats/2", ("", ""))[1]:
        assert time.monotonic() < deadline, predictor.stderr()
        time.sleep(0.05)
    for protocol in PROTOCOLS:
        assert version_of(getattr(client, protocol)("cats"), "cats") == "1"
    assert predictor.get("/v2/health/ready").status_code == 200
    client.close()


def test_a_folder_that_is_being_copied_is_not_loaded(serve, folders):
    folders.put("cats", "1")
    predictor = serve(preload=("cats",), repository_poll_s=0.5)
    whole = folders.prepare("cats", "2")
    target = folders.root / "cats" / "2"
    target.mkdir()
    shutil.copy(whole / "config.json", target)
    data = (whole / "model.safetensors").read_bytes()
    with (target / "model.safetensors").open("wb") as stream:
        for part in range(20):  # longer than several polls, as from a slow store
            stream.write(data[part * len(data) // 20 : (part + 1) * len(data) // 20])
            stream.flush()
            os.fsync(stream.fileno())
            assert index(predictor).get("cats/2", ("", ""))[0] in ("", "LOADING", "READY" if part == 19 else "")
            time.sleep(0.15)
    until_state(predictor, "cats/2", "READY")
    assert metric(predictor, "moorage_model_loads_total", outcome="failed") == 0


def test_a_folder_of_models_that_is_not_there_is_one_line_and_exit_code_2(start, tmp_path):
    predictor = start(model_repository=str(tmp_path / "none"))
    assert predictor.exit_code() == 2
    [line] = [line for line in predictor.lines if line.startswith("moorage-predictor: error: ")]
    assert "none: cannot be read as a folder of models: No such file or directory" in line
