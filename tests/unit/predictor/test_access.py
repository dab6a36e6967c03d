"""Who may call which route, over HTTP and over both gRPC servers: nobody without a key, save a short list."""

import asyncio
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from kserve import Model
from tests.unit.access.callers import Issuer, key_settings, made_key
from tests.unit.predictor.served import Echo, InProcess, listening

from moorage.access.stores import write_file
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import StartError
from moorage_predictor.wire import grpc_incoming
from moorage_predictor.wire.access import GRPC_ROLES, gate_of, guarded
from moorage_predictor.wire.grpc import _CALLS, create_server, services
from moorage_predictor.wire.grpc_health import SERVICE as HEALTH
from moorage_predictor.wire.http.endpoints import ENDPOINTS
from moorage_predictor.wire.rate_limits import limits_of

OPEN = {
    ("GET", "/"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/models/{name}/ready"),
    ("GET", "/v2/models/{name}/versions/{version}/ready"),
}
OPEN_CALLS = {"ServerLive", "ServerReady", "ModelReady", "Check", "Watch"}
PREDICTS = {
    "/v1/models/{name}:predict",
    "/v1/models/{name}:explain",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
}
INFER = "/v2/models/cats/infer"
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
IDS = [f"{each.method} {each.path}" for each in ENDPOINTS]


class Guarded:
    """The application behind its door, and one key of each role; `cats_only` may ask no other model."""

    def __init__(self, folder, model=None, *, loaded=True, **options):
        self.inside = InProcess((model or Echo()) if loaded else None, **options)
        self.keys, stored = {}, []
        for role, more in (("read", {}), ("read-write", {}), ("admin", {}), ("dogs_only", {"models": ["dog*"]})):
            key, document = made_key(
                role.replace("_", "-"), role=role if role in ("read", "admin") else "read-write", **more
            )
            self.keys[role] = key
            stored.append(document)
        told = key_settings(folder / "keys.json", *stored)
        self.settings = PredictorSettings(task="a:B", model_name="cats", access_keys_file=told.access_keys_file)
        self.gate = gate_of(self.settings)
        self.app = guarded(self.inside.app, self.gate)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def ask(self, method, path, role=None, **options):
        headers = {**({"x-api-key": self.keys[role]} if role else {}), **options.pop("headers", {})}
        filled = path.format(name="cats", version="1")
        return await self.client.request(method, filled, headers=headers, **options)


@pytest.fixture
async def behind(tmp_path):
    made = []

    def make(model=None, **options):
        made.append(Guarded(tmp_path, model, **options))
        return made[-1]

    yield make
    for one in made:
        await one.inside.served.unload()


def test_every_route_of_the_application_is_in_the_table_that_the_door_reads(behind):
    one = behind()
    assert {pattern.pattern for pattern, _, _ in one.inside.app._table} == {
        pattern.pattern for _, pattern in one.app._routes._rules
    }
    paths = one.inside.app._predictions
    assert {one.app._routes.find("POST", path).role for path in paths} == {"read-write"}
    assert {one.app._routes.find("POST", path).model for path in paths} == {"cats"}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=IDS)
async def test_a_stranger_gets_nothing_from_any_route_but_whether_the_server_lives(endpoint, behind):
    one = behind(control=True)
    for headers in ({}, {"x-api-key": "mk_alice_" + "a" * 43}, {"authorization": "Bearer x.y.z"}):
        answer = await one.ask(endpoint.method, endpoint.path, headers=headers)
        if (endpoint.method, endpoint.path) in OPEN:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="moorage"'
            assert answer.json() == {
                "error": "expected an API key in x-api-key or as Authorization: Bearer mk_...",
                "code": "UNAUTHENTICATED",
            }


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if (each.method, each.path) not in OPEN], ids=str)
async def test_each_route_needs_its_role_and_no_more(endpoint, behind):
    one = behind(control=True, load=Echo)
    needed = "admin" if endpoint.control else "read-write" if endpoint.path in PREDICTS else "read"
    roles = ["read", "read-write", "admin"]
    for role in roles:
        answer = await one.ask(endpoint.method, endpoint.path, role, json={} if endpoint.control else BODY)
        may = roles.index(role) >= roles.index(needed)
        assert (answer.status_code == 403) != may, answer.text
        if not may:
            assert answer.json() == {
                "error": f"expected role {' or '.join(roles[roles.index(needed) :])}, the caller has {role}",
                "code": "PERMISSION_DENIED",
            }


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if "{name}" in each.path], ids=str)
async def test_a_key_for_other_models_gets_403_wherever_a_model_is_named(endpoint, behind):
    one = behind(control=True)
    answer = await one.ask(endpoint.method, endpoint.path, "dogs_only", json=BODY)
    assert answer.status_code == (200 if (endpoint.method, endpoint.path) in OPEN else 403)


@pytest.mark.parametrize("role", ["read-write", "admin"])
async def test_a_known_caller_gets_the_answer(role, behind):
    one = behind()
    for headers in ({"x-api-key": one.keys[role]}, {"authorization": f"Bearer {one.keys[role]}"}):
        answer = await one.ask("POST", INFER, headers=headers, json=BODY)
        assert answer.status_code == 200
        assert answer.json()["outputs"][0]["data"] == [1.0, 2.0]


@pytest.mark.parametrize(
    "path",
    [
        "//v2/health/live",
        "/v2/health/live/",
        "/v2/health/live/../../models/cats",
        "/v2/models/cats/infer/",
        "/V2/MODELS/cats",
        "/v2/models/a/b/ready",
        "/docs",
        "/nothing",
        "/v2/models/cats:ready",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "BREW"])
async def test_no_other_way_to_write_a_path_or_a_method_goes_past_the_door(path, method, behind):
    assert (await behind().ask(method, path)).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil/v2/health/live", "evil?/v2/health/live", "/v2/health/live#", "a@b/v2/health/live", ""]
)
async def test_what_the_host_header_says_changes_no_path(host, behind):
    assert (await behind().ask("GET", "/v2/models/cats", headers={"host": host})).status_code == 401


async def test_strangers_see_that_a_model_is_not_ready_and_callers_also_why(behind):
    one = behind(loaded=False)
    for path in ("/v2/health/ready", "/v2/models/cats/ready"):
        answer = await one.ask("GET", path)
        assert answer.status_code == 503
        assert answer.json() == {"error": "Service Unavailable", "code": "SERVICE_UNAVAILABLE"}
        answer = await one.ask("GET", path, "read")
        assert answer.status_code == 503
        assert "code" in answer.json() or "ready" in answer.json()
    assert (await one.ask("GET", "/v2/models/dogs/ready")).json() == {"error": "Not Found", "code": "NOT_FOUND"}
    assert "cats" in (await one.ask("GET", "/v2/models/dogs/ready", "read")).json()["error"]


async def test_a_probe_with_a_bad_key_is_answered_as_a_probe(behind):
    answer = await behind().ask("GET", "/v2/health/ready", headers={"x-api-key": "old"})
    assert (answer.status_code, answer.json()) == (200, {"ready": True})


async def test_an_unknown_callers_body_is_not_read_before_the_answer(behind):
    happened = []

    async def receive():
        happened.append("receive")
        return {"type": "http.request", "body": b"x" * 65536, "more_body": len(happened) < 50}

    async def send(message):
        happened.append((message["type"], message.get("status"), message.get("body", b"")[:9]))

    headers = [(b"host", b"a"), (b"content-length", b"100000000")]
    scope = {"type": "http", "method": "POST", "path": INFER, "headers": headers, "query_string": b""}
    await behind().app(scope, receive, send)
    assert happened[0] == ("http.response.start", 401, b"")
    assert happened[1][2] == b'{"error":'
    assert "moorage.held" not in scope


async def test_neither_the_model_nor_its_answer_sees_what_let_the_caller_in(behind):
    seen = {}

    class Curious(Model):
        def __init__(self):
            super().__init__("cats", return_response_headers=True)
            self.ready = True

        def predict(self, payload, headers=None, response_headers=None):
            seen.update(headers)
            if response_headers is not None:
                response_headers.update(headers)
            return {"predictions": [1]}

        explain = predict

    one = behind(Curious())
    secret = one.keys["admin"]
    for verb in ("predict", "explain"):
        headers = {"authorization": f"Bearer {secret}", "cookie": "session=abc", "x-other": "1"}
        answer = await one.ask("POST", f"/v1/models/cats:{verb}", "admin", headers=headers, json={"instances": [1]})
        assert answer.status_code == 200
        assert seen["x-other"] == "1"
        assert not {"authorization", "x-api-key"} & seen.keys()
        assert not {"authorization", "x-api-key", "cookie"} & answer.headers.keys()
        assert secret not in answer.text + str(answer.headers) + str(seen)


async def test_no_key_and_no_hash_is_in_any_log(behind, caplog):
    caplog.set_level("DEBUG")
    one = behind()
    for key in (*one.keys.values(), one.keys["read"][:-1] + "!", "Bearer mk_x_y"):
        await one.ask("POST", INFER, headers={"x-api-key": key}, json=BODY)
        await one.ask("POST", INFER, headers={"authorization": f"Bearer {key}"}, json={"inputs": 3})
    for key in one.keys.values():
        assert key.rsplit("_", 1)[1] not in caplog.text
    assert "hmac" not in caplog.text


async def test_tokens_open_the_same_routes(tmp_path):
    issuer = Issuer()
    told = issuer.settings(tmp_path / "jwks.json", jwt_role_claim="role")
    settings = PredictorSettings(task="a:B", model_name="cats", **told.model_dump(exclude_defaults=True))
    inside = InProcess(Echo())
    app = guarded(inside.app, gate_of(settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        codes = {}
        for role in ("read", "read-write", "root"):
            headers = {"authorization": f"Bearer {issuer.token(role=role)}"}
            codes[role] = (await client.post(INFER, json=BODY, headers=headers)).status_code
    await inside.served.unload()
    assert codes == {"read": 403, "read-write": 200, "root": 401}


def test_without_settings_there_is_no_door_and_with_broken_keys_no_start(tmp_path):
    assert gate_of(PredictorSettings(task="a:B", model_name="cats")) is None
    (tmp_path / "keys.json").write_text("[{}]")
    with pytest.raises(StartError, match=r"keys\.json: key 1: id: Field required"):
        gate_of(PredictorSettings(task="a:B", model_name="cats", access_keys_file=str(tmp_path / "keys.json")))
    write_file(tmp_path / "keys.json", [])
    assert gate_of(PredictorSettings(task="a:B", model_name="cats", access_keys_file=str(tmp_path / "keys.json")))


METHODS = [*_CALLS, "ModelInfer"]


@pytest.fixture(params=["grpcio", "native"])
async def service(request, behind):
    """One gRPC server, and how to call it: method, request, role -> answer in bytes."""
    one = behind(control=True, load=Echo)
    settings = one.settings.model_copy(update={"grpc_server": request.param, "control_endpoints": True})
    server = create_server(one.inside.repository, settings, one.gate)
    async with listening(server) as address, grpc.aio.insecure_channel(address) as channel:

        async def call(method, message=None, role=None, metadata=()):
            held = (("x-api-key", one.keys[role]),) if role else ()
            ask = channel.unary_unary(f"/{SERVICE}/{method}")
            return await ask(message.SerializeToString() if message else b"", metadata=(*held, *metadata), timeout=10)

        call.keys = one.keys
        yield call


async def code(awaitable):
    try:
        await awaitable
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def test_every_call_of_every_service_has_a_role():
    served = services(InProcess().repository, PredictorSettings(task="a:B", model_name="cats"))
    assert set(served) == {SERVICE, HEALTH}
    assert set(METHODS) == set(served[SERVICE])
    assert sorted(name for methods in served.values() for name in methods) == sorted(GRPC_ROLES)
    assert {name for name, role in GRPC_ROLES.items() if role is None} == OPEN_CALLS


async def test_a_stranger_gets_nothing_from_any_call_but_whether_the_server_lives(service):
    expected = "expected an API key in x-api-key or as Authorization: Bearer mk_..."
    for method in METHODS:
        for metadata in ((), (("x-api-key", "mk_a"),), (("authorization", "Bearer x.y.z"),)):
            message = pb.ModelRequest(name="dogs") if method == "ModelReady" else None
            found = await code(service(method, message, metadata=metadata))
            if method in ("ServerLive", "ServerReady"):
                assert found == (grpc.StatusCode.OK, ""), method
            elif method == "ModelReady":
                assert found == (grpc.StatusCode.NOT_FOUND, "no such model here")
            else:
                assert found == (grpc.StatusCode.UNAUTHENTICATED, expected), method


async def test_who_sends_no_message_is_not_waited_for(behind):
    one = behind()
    server = create_server(one.inside.repository, one.settings, one.gate)
    async with listening(server) as address, grpc.aio.insecure_channel(address) as channel:
        paths = (f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelReady", f"/{HEALTH}/Check")
        calls = [channel.stream_unary(path)(timeout=10) for path in paths]
        calls.append(watch := channel.stream_stream(f"/{HEALTH}/Watch")(timeout=10))
        codes = [await call.code() for call in calls]
    late = grpc.StatusCode.DEADLINE_EXCEEDED
    assert codes == [grpc.StatusCode.UNAUTHENTICATED, late, late, late]
    assert await watch.details() == "expected the whole message within 2 s"


async def test_a_known_caller_who_sends_no_message_holds_a_call_no_longer_than_a_message_may_take(behind):
    one = behind()
    limits = {"body_timeout_s": 0.3, "max_body_bytes": 1024}
    server = create_server(one.inside.repository, one.settings.model_copy(update=limits), one.gate)
    async with listening(server) as address, grpc.aio.insecure_channel(address) as channel:
        held = (("x-api-key", one.keys["read-write"]),)
        calls = [channel.stream_unary(f"/{SERVICE}/{name}")(metadata=held, timeout=30) for name in METHODS[-2:]]
        assert [await call.details() for call in calls] == ["expected the whole message within 0.300977 s"] * 2


async def test_strangers_who_send_no_message_keep_nobody_else_from_asking(behind, monkeypatch):
    monkeypatch.setattr(grpc_incoming, "OPEN_S", 60.0)
    one = behind()
    server = create_server(one.inside.repository, one.settings, one.gate)
    async with listening(server) as address, grpc.aio.insecure_channel(address) as channel:
        silent = [channel.stream_unary(f"/{SERVICE}/ModelReady")(timeout=60) for _ in range(32)]
        ask = channel.unary_unary(f"/{SERVICE}/ModelReady")
        await ask(pb.ModelRequest(name="cats").SerializeToString(), timeout=30)
        await channel.unary_unary(f"/{HEALTH}/Check")(b"", timeout=30)
        codes = asyncio.as_completed([call.code() for call in silent])
        ended = [await code for _, code in zip(range(20), codes, strict=False)]
        for call in silent:
            call.cancel()
    assert ended == [grpc.StatusCode.DEADLINE_EXCEEDED] * 20, "the oldest make room"


async def test_whether_the_server_lives_and_is_ready_is_told_before_a_message_comes(behind):
    one = behind()
    server = create_server(one.inside.repository, one.settings, one.gate)
    async with listening(server) as address, grpc.aio.insecure_channel(address) as channel:
        calls = [channel.stream_unary(f"/{SERVICE}/{name}")(timeout=30) for name in ("ServerLive", "ServerReady")]
        live, ready = [await call for call in calls]
    assert pb.ServerLiveResponse.FromString(live).live
    assert pb.ServerReadyResponse.FromString(ready).ready


async def test_the_message_of_a_call_that_is_open_to_all_is_small(service):
    much = pb.ModelRequest(name="c" * 70_000)
    found = await code(service("ModelReady", much))
    assert found == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the message: expected at most 65536 bytes, found 70004")
    for method in ("ServerLive", "ServerReady"):
        unread, refused = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await code(service(method, much)))[0] in (unread, refused), "grpcio's message stays unread"
    assert (await code(service("ModelMetadata", much, "read")))[0] is grpc.StatusCode.NOT_FOUND


async def test_each_call_needs_its_role(service):
    name = pb.ModelRequest(name="cats")
    repository = pb.RepositoryModelRequest(model_name="cats")
    trace = pb.TraceSettings(settings={"trace_rate": pb.TraceSettingValue(value=["1"])})
    log = pb.LogSettings(settings={"log_info": pb.LogSettingValue(bool_param=True)})
    infer = pb.ModelInferRequest(model_name="cats")
    for method, message, needed in (
        ("ServerMetadata", None, "read"),
        ("ModelMetadata", name, "read"),
        ("ModelConfig", name, "read"),
        ("ModelStatistics", name, "read"),
        ("RepositoryIndex", None, "read"),
        ("TraceSetting", None, "read"),
        ("LogSettings", None, "read"),
        ("ModelInfer", infer, "read-write"),
        ("TraceSetting", trace, "admin"),
        ("LogSettings", log, "admin"),
        ("RepositoryModelLoad", repository, "admin"),
        ("RepositoryModelUnload", repository, "admin"),
    ):
        roles = ["read", "read-write", "admin"]
        for role in roles:
            found, _ = await code(service(method, message, role))
            may = roles.index(role) >= roles.index(needed)
            assert (found is grpc.StatusCode.PERMISSION_DENIED) != may, (method, role, found)


async def test_a_key_for_other_models_is_denied_wherever_a_model_is_named(service):
    for method, message in (
        ("ModelMetadata", pb.ModelRequest(name="cats")),
        ("ModelConfig", pb.ModelRequest(name="cats")),
        ("ModelStatistics", pb.ModelRequest(name="cats")),
        ("ModelInfer", pb.ModelInferRequest(model_name="cats")),
        ("TraceSetting", pb.TraceSettings(model_name="cats")),
    ):
        found = await code(service(method, message, "dogs_only"))
        assert found == (grpc.StatusCode.PERMISSION_DENIED, "the caller may not ask this model"), method


async def test_a_prediction_over_grpc_with_a_key_in_either_place(service):
    tensor = pb.Tensor(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1, 2])
    request = pb.ModelInferRequest(model_name="cats", inputs=[tensor])
    for metadata in (
        (("x-api-key", service.keys["read-write"]),),
        (("authorization", f"Bearer {service.keys['read-write']}"),),
    ):
        answer = pb.ModelInferResponse.FromString(await service("ModelInfer", request, metadata=metadata))
        assert list(answer.outputs[0].contents.fp32_contents) == [1, 2]
    both = (("x-api-key", service.keys["admin"]), ("authorization", f"Bearer {service.keys['read']}"))
    assert (await code(service("ModelInfer", request, metadata=both)))[0] is grpc.StatusCode.UNAUTHENTICATED


def test_without_access_nothing_of_it_is_imported_but_names():
    script = (
        "import moorage_predictor.wire.server, sys\n"
        "print(*sorted(name for name in sys.modules if name.startswith('moorage.access')))\n"
        "print(*[name for name in ('jwt', 'redis', 'limits', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    modules, libraries = done.stdout.splitlines()
    names = {f"moorage.access{name}" for name in ("", ".errors", ".principal", ".routes", ".limits")}
    assert [module for module in modules.split() if module not in names] == []
    assert libraries == ""


async def test_a_key_counts_against_its_own_limit_and_a_stranger_against_nobodys(behind):
    one = behind()
    limited, stored = made_key("limited", role="read-write", limits=[{"requests": 2, "per": "minute"}])
    write_file(Path(one.settings.access_keys_file), [stored])
    settings = one.settings.model_copy(update={"rate_limit": ("100/minute",)})
    app = guarded(limits_of(settings, one.inside.metrics).counted(one.inside.app), gate_of(settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        strangers = [(await client.post(INFER, json=BODY)).status_code for _ in range(5)]
        answers = [await client.post(INFER, json=BODY, headers={"x-api-key": limited}) for _ in range(3)]
    assert strangers == [401] * 5
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-limit"] for answer in answers] == ["2"] * 3
