"""One model's hooks: in order, off the server's event loop, with their errors translated."""

import asyncio
import concurrent.futures
import threading
import time
from contextvars import ContextVar

import kserve.errors
import pytest
from kserve import InferResponse, Model
from starlette.exceptions import HTTPException

from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import DeadlineExceeded, InvalidInput, ModelFault, ModelUnavailable, NotFound, Unsupported
from moorage_predictor.telemetry.record import CURRENT, Record
from moorage_predictor.wire import messages, sdk
from moorage_predictor.wire.pipeline import Pipeline, sdk_of

HEADERS = {"a": "b"}
CALLER = ContextVar("caller", default="nobody")


class Recording(Model):
    """Notes which hooks ran and where."""

    def __init__(self, **options):
        super().__init__("cats", **options)
        self.ready = True
        self.seen = []

    def note(self, hook):
        self.seen.append((hook, threading.current_thread() is threading.main_thread()))

    def hooks(self):
        return [hook for hook, _ in self.seen]


class Plain(Recording):
    def predict(self, payload, headers=None):
        self.note("predict")
        return {"got": payload, "headers": headers}


async def asked(model, payload=1, verb="predict"):
    pipeline = Pipeline(model)
    try:
        return await getattr(pipeline, verb)(payload, dict(HEADERS))
    finally:
        await pipeline.retire()


async def test_a_plain_model_is_called_once_and_not_on_the_servers_loop():
    model = Plain()
    assert await asked(model) == ({"got": 1, "headers": HEADERS}, {})
    assert model.seen == [("predict", False)]


async def test_a_deadline_that_passed_while_the_model_loaded_is_over():
    model = Plain()
    pipeline = Pipeline(model)
    arrived = asyncio.get_running_loop().time() - 1
    with pytest.raises(DeadlineExceeded):
        await pipeline.predict(1, {"x-request-timeout": "0.5"}, arrived=arrived)
    await pipeline.retire()
    assert model.seen == []


async def test_all_three_hooks_run_in_order_and_each_gets_what_the_last_returned():
    class Model(Plain):
        def preprocess(self, payload, headers=None):
            self.note("preprocess")
            return payload + 1

        def postprocess(self, result, headers=None):
            self.note("postprocess")
            return [result]

    model = Model()
    assert await asked(model) == ([{"got": 2, "headers": HEADERS}], {})
    assert model.hooks() == ["preprocess", "predict", "postprocess"]


async def test_hooks_may_be_coroutines_and_functions_in_any_mix():
    class Model(Recording):
        async def preprocess(self, payload, headers=None):
            await asyncio.sleep(0)
            self.note("preprocess")
            return payload + 1

        def predict(self, payload, headers=None):
            self.note("predict")
            return payload * 10

        async def postprocess(self, result, headers=None):
            self.note("postprocess")
            return result + 3

    model = Model()
    assert await asked(model) == (23, {})
    assert model.seen == [("preprocess", False), ("predict", False), ("postprocess", False)]


async def test_coroutines_of_a_model_share_one_loop_for_its_life():
    class Model(Recording):
        lock = None

        async def predict(self, payload, headers=None):
            self.lock = self.lock or asyncio.Lock()
            async with self.lock:
                return id(asyncio.get_running_loop())

    pipeline = Pipeline(Model())
    answers = await asyncio.gather(*(pipeline.predict(1, {}) for _ in range(5)))
    assert len({answer for answer, _ in answers}) == 1
    assert answers[0][0] != id(asyncio.get_running_loop())
    await pipeline.retire()


async def test_response_headers_reach_the_answer():
    class Model(Recording):
        def __init__(self):
            super().__init__(return_response_headers=True)

        async def predict(self, payload, headers=None, response_headers=None):
            response_headers.update({"x-mood": "calm"})
            return payload

        def postprocess(self, result, headers=None, response_headers=None):
            response_headers["x-late"] = "1"
            return result

    assert await asked(Model()) == (1, {"x-mood": "calm", "x-late": "1"})


async def test_a_model_that_replaces_call_is_called_as_the_sdk_would():
    class Model(Recording):
        async def __call__(self, body, headers=None, verb=None):
            return {"verb": verb.name, "body": body}, {"x-own": "1"}

    assert await asked(Model()) == ({"verb": "PREDICT", "body": 1}, {"x-own": "1"})
    assert (await asked(Model(), verb="explain"))[0]["verb"] == "EXPLAIN"


async def test_explain_is_there_only_where_the_model_has_it():
    class Explaining(Plain):
        def explain(self, payload, headers=None):
            return {"explanations": payload}

    assert await asked(Explaining(), verb="explain") == ({"explanations": 1}, {})
    with pytest.raises(Unsupported, match="the model cats gives no explanations"):
        await asked(Plain(), verb="explain")


class Simple:
    """A model without the SDK."""

    name = "cats"
    ready = True

    def predict(self, payload, headers=None):
        return {"got": payload, "headers": headers}


async def test_a_model_without_the_sdk_has_predict_and_perhaps_explain():
    class Explaining(Simple):
        def explain(self, payload, headers=None):
            return {"explanations": payload}

        def postprocess(self, result, headers=None):
            raise AssertionError("a hook of the SDK's")

    assert await asked(Simple()) == ({"got": 1, "headers": HEADERS}, {})
    assert await asked(Explaining()) == ({"got": 1, "headers": HEADERS}, {})
    assert await asked(Explaining(), verb="explain") == ({"explanations": 1}, {})
    with pytest.raises(Unsupported, match="the model cats gives no explanations"):
        await asked(Simple(), verb="explain")


def test_each_kind_of_model_gets_requests_of_its_own_types():
    assert sdk_of(Simple()) is None
    assert Pipeline(Simple()).types is messages.TYPES
    assert Pipeline(Plain()).types is sdk.TYPES


@pytest.mark.parametrize("style", ["function", "coroutine", "without the SDK"])
@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (kserve.errors.InvalidInput("bad row"), InvalidInput, "bad row"),
        (kserve.errors.InferenceError("bad ask"), InvalidInput, "bad ask"),
        (kserve.errors.ModelNotFound("dogs"), NotFound, "dogs"),
        (kserve.errors.ModelNotReady("dogs"), ModelUnavailable, "dogs"),
        (HTTPException(422, "no"), InvalidInput, "no"),
        (HTTPException(404, "no"), NotFound, "no"),
        (HTTPException(503, "no"), ModelUnavailable, "no"),
        (InvalidInput("ours"), InvalidInput, "ours"),
        (NotImplementedError("deep inside"), Unsupported, "the model cats does not do this"),
        (ValueError("/secret"), ModelFault, "the model cats failed; the server's log has the reason"),
        (KeyError("k"), ModelFault, "the model cats failed; the server's log has the reason"),
        (MemoryError(), ModelFault, "the model cats failed; the server's log has the reason"),
        (HTTPException(418, "teapot"), ModelFault, "the model cats failed; the server's log has the reason"),
    ],
)
async def test_what_a_model_raises_becomes_one_of_our_errors(style, error, expected, text, caplog):
    class Function(Recording):
        def predict(self, payload, headers=None):
            raise error

    class Coroutine(Recording):
        async def predict(self, payload, headers=None):
            raise error

    class WithoutTheSdk(Simple):
        def predict(self, payload, headers=None):
            raise error

    with pytest.raises(expected) as caught:
        await asked({"function": Function, "coroutine": Coroutine, "without the SDK": WithoutTheSdk}[style]())
    assert text in str(caught.value)
    logged = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[1] for record in logged] == ([error] if expected is ModelFault else [])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_servers_loop_goes_on_while_a_model_blocks(asynchronous):
    entered, leave = threading.Event(), threading.Event()

    class Function(Recording):
        def predict(self, payload, headers=None):
            entered.set()
            leave.wait(5)
            return "done"

    class Coroutine(Recording):
        async def predict(self, payload, headers=None):
            entered.set()
            leave.wait(5)
            return "done"

    pipeline = Pipeline(Coroutine() if asynchronous else Function())
    working = asyncio.create_task(pipeline.predict(1, {}))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    assert pipeline.active == 1
    assert not working.done()  # and yet we run
    leave.set()
    assert (await working)[0] == "done"
    assert pipeline.active == 0
    await pipeline.retire()


async def test_ordinary_functions_of_a_model_never_run_at_once():
    class Model(Recording):
        inside = 0
        most = 0

        def predict(self, payload, headers=None):
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.002)
            self.inside -= 1
            return payload

    model = Model()
    pipeline = Pipeline(model)
    answers = await asyncio.gather(*(pipeline.predict(number, {}) for number in range(20)))
    assert [answer for answer, _ in answers] == list(range(20))
    assert model.most == 1
    await pipeline.retire()


async def test_a_retired_model_finishes_its_work_before_it_is_let_go():
    entered, leave, stopped = threading.Event(), threading.Event(), threading.Event()

    class Model(Recording):
        def predict(self, payload, headers=None):
            entered.set()
            leave.wait(5)
            return InferResponse("1", "cats", [])

        def stop(self):
            stopped.set()

    pipeline = Pipeline(Model())
    working = asyncio.create_task(pipeline.predict(1, {}))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    retiring = asyncio.create_task(pipeline.retire())
    await asyncio.sleep(0.05)
    assert not stopped.is_set()
    leave.set()
    await working
    await retiring
    assert stopped.is_set()


class Asking:
    """Notes in whose context it is called, and with how many rows."""

    name, ready = "cats", True

    def __init__(self):
        self.seen = []

    def predict(self, payload, headers=None):
        self.seen.append((CALLER.get(), len(payload["instances"])))
        return {"predictions": payload["instances"]}


class AskingLater(Asking):
    async def predict(self, payload, headers=None):
        await asyncio.sleep(0)
        return super().predict(payload, headers)


def traced(pipeline, caller):
    async def call():
        record = Record()
        record.span = object()
        CURRENT.set(record)
        CALLER.set(caller)
        return await pipeline.predict({"instances": [[1]]}, {})

    return asyncio.create_task(call())


@pytest.mark.parametrize("limits", [None, BatchLimits(1, 100), BatchLimits(8, 100)])
@pytest.mark.parametrize("kind", [Asking, AskingLater])
async def test_a_traced_request_that_has_a_call_to_itself_has_it_in_its_own_context(kind, limits):
    model = kind()
    pipeline = Pipeline(model, limits)
    for caller in ("first", "second"):
        await traced(pipeline, caller)
    await pipeline.retire()
    assert model.seen == [("first", 1), ("second", 1)]


async def test_a_call_that_requests_share_is_in_the_context_of_none():
    model = Asking()
    pipeline = Pipeline(model, BatchLimits(8, 100))
    await asyncio.gather(*(traced(pipeline, f"caller {number}") for number in range(4)))
    await pipeline.retire()
    assert model.seen == [("nobody", 4)]


class Panicking(Asking):
    """With a row that makes it raise what is no `Exception`."""

    error: type[BaseException] = GeneratorExit

    def predict(self, payload, headers=None):
        if [0] in payload["instances"]:
            raise self.error
        return super().predict(payload, headers)


@pytest.mark.parametrize("error", [GeneratorExit, SystemExit, concurrent.futures.CancelledError])
async def test_a_row_on_which_the_models_code_panics_fails_alone(error):
    model = Panicking()
    model.error = error
    pipeline = Pipeline(model, BatchLimits(8, 100))
    asked = (pipeline.predict({"instances": [[row]]}, {}) for row in (1, 0, 2))
    one, poison, two = await asyncio.gather(*asked, return_exceptions=True)
    await pipeline.retire()
    assert (one, two) == (({"predictions": [[1]]}, {}), ({"predictions": [[2]]}, {}))
    assert isinstance(poison, ModelFault)
