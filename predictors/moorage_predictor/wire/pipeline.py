"""What a request passes inside one model: its hooks, off the server's event loop. Called by `repository.py`.

A model of ours has `predict` alone. One that is a `kserve.Model` has preprocess, predict or explain, and postprocess; what
is special about those stands in `sdk.py`.
"""

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from time import perf_counter_ns
from types import ModuleType
from typing import Any, Final, Protocol, TypeVar

from moorage_predictor.batching import BatchLimits, Observe
from moorage_predictor.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFault,
    ModelUnavailable,
    NotFound,
    RequestError,
    Unsupported,
)
from moorage_predictor.telemetry.record import CURRENT
from moorage_predictor.wire.batched import Answer, Batched, Encode, Headers
from moorage_predictor.wire.lane import Lane, ModelLoop, apart
from moorage_predictor.wire.messages import TYPES
from moorage_predictor.wire.urgency import urgency

_log = logging.getLogger(__name__)

T = TypeVar("T")
Call = Callable[[Any, Headers, Encode], Awaitable[Answer]]
_END: Final = object()


def _as_it_is(value: Any) -> Any:
    return value


_THEIR_ERRORS: Final[tuple[tuple[str, str, type[RequestError]], ...]] = (
    ("kserve.errors", "InvalidInput", InvalidInput),
    ("kserve.errors", "InferenceError", InvalidInput),  # the SDK raises it for what a client asked for
    ("kserve.errors", "ModelNotFound", NotFound),
    ("kserve.errors", "ModelNotReady", ModelUnavailable),
    ("kserve.errors", "ServerNotReady", ModelUnavailable),
    ("kserve.errors", "UnsupportedProtocol", Unsupported),
)
"""Module, class, and what it is here."""
_POLL_S: Final = 0.02
_HTTP_ERRORS: Final[dict[int, type[RequestError]]] = {
    400: InvalidInput,
    404: NotFound,
    422: InvalidInput,
    503: ModelUnavailable,
}


class Model(Protocol):
    """What is served. It may have more: `explain`, as `predict`; `labels(output)`, names of an output's classes; and, true
    where they are there, `never_blocks` (its coroutines may run on the server's loop), `fresh_outputs` (no answer is
    written over by the next) and `takes_bytes` (a V1 instance may hold bytes where JSON has base64). `bulky(answer)`, of one
    whose answers are fresh, says which are encoded in a thread. One that makes its batches itself has `observed_by`, and
    `lane` if its calls run in one."""

    name: str
    ready: bool

    def predict(self, payload: Any, headers: Headers | None = None) -> Any:
        """Answer one request, or give a coroutine that does: a dictionary for V1, an `InferRequest` for V2, which is
        answered by an `InferResponse`."""

    def stop(self) -> None:
        """After the last request."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """`[{"name": ..., "datatype": ..., "shape": [...]}]`; -1 is any size."""

    def get_output_types(self) -> list[dict[str, Any]]:
        """The same of its outputs."""


def sdk_of(model: object) -> ModuleType | None:
    """`sdk.py` if it is a `kserve.Model`. None is, before somebody has imported kserve: the model's own file does."""
    if not isinstance(model, _known("kserve.model", "BaseKServeModel")):
        return None
    from moorage_predictor.wire import sdk

    return sdk


_AT_A_TIME: Final = 8
"""Batches of a model whose hooks are coroutines, which wait for something else most of the time."""


class Pipeline:
    """One model's hooks."""

    def __init__(self, model: Model, limits: BatchLimits | None = None, observe: Observe | None = None) -> None:
        """With `limits` requests share calls of a model whose rows each stand for themselves. `observe` is told of every
        batch, also of those of a model that makes them itself."""
        self._model: Any = model  # what a model may have besides is asked for by name
        self.active = 0
        """Requests in work and waiting."""
        self.unread = 0
        """Of these, streams whose last piece its reader has not taken yet."""
        self.answered = 0
        """Times that the model has come to an end of something, be it an error; a request given up does not count."""
        own = getattr(model, "lane", None)
        self.lane = own if isinstance(own, Lane) else Lane(model.name)
        self._loop = None if getattr(model, "never_blocks", False) else ModelLoop(model.name)
        sdk = sdk_of(model)
        self.types = sdk.TYPES if sdk else TYPES
        """What requests to the model are made of."""
        self.health: Callable[[], Awaitable[Any]] | None = sdk.health(model) if sdk else None
        """The model's own health check, if it has one."""
        self.explains = bool(sdk.explains(model) if sdk else hasattr(model, "explain"))
        self._asynchronous = False
        self._predict = self._way(sdk, "predict")
        self._explain = self._way(sdk, "explain") if self.explains else self._predict
        self._batched: Batched | None = None
        makes_batches = hasattr(model, "observed_by")
        if limits and not makes_batches and not (sdk and sdk.has_own_call(model)):
            limits = replace(limits, workers=_AT_A_TIME if self._asynchronous else 1)
            self._batched = Batched(model.name, self._predict, self.types, limits)
        observed_by = self._batched.observed_by if self._batched else getattr(model, "observed_by", None)
        self.batches = bool(observed_by)
        """Whether it is told of every batch."""
        if observed_by and observe:
            observed_by(self._counting(observe))

    @property
    def waiting(self) -> int:
        """Rows that wait for a batch."""
        return self._batched.waiting if self._batched else getattr(self._model, "waiting", 0)

    def predict(
        self, payload: Any, headers: Headers, encode: Encode = _as_it_is, arrived: float | None = None
    ) -> Awaitable[Answer]:
        """Answer one request: a dictionary for V1, an `InferRequest` for V2. `encode` is called with the model's answer
        before the next request reaches the model, which may then write over what it returned. `arrived` is when the
        time that the caller gives it began; None: now.

        Raises:
            RequestError: what the model raised, translated; `ModelFault` if it is no error that it may raise.
            DeadlineExceeded: the caller's own deadline passed.
        """
        return self._answer(self._predict, payload, headers, encode, arrived, self._batched)

    def explain(
        self, payload: Any, headers: Headers, encode: Encode = _as_it_is, arrived: float | None = None
    ) -> Awaitable[Answer]:
        """The same with the model's `explain`.

        Raises:
            RequestError: as `predict`; `Unsupported` if the model has none.
        """
        if not self.explains:
            raise Unsupported(f"the model {self._model.name} gives no explanations")
        return self._answer(self._explain, payload, headers, encode, arrived)

    async def _answer(
        self,
        call: Call,
        payload: Any,
        headers: Headers,
        encode: Encode,
        arrived: float | None,
        batched: "Batched | None" = None,
    ) -> Answer:
        self.active += 1
        try:
            soon = urgency(headers, getattr(payload, "parameters", None), arrived)
            if soon.deadline is not None and soon.deadline <= asyncio.get_running_loop().time():
                raise DeadlineExceeded  # the model was loaded meanwhile, or the body came slowly
            work = batched(payload, headers, encode, soon.priority) if batched else call(payload, headers, encode)
            answer = await (work if soon.deadline is None else _in_time(work, soon.deadline))
            self.answered += 1
            return answer
        except Exception as error:
            self.answered += not isinstance(error, DeadlineExceeded)
            raise _translated(self._model.name, error) from error
        finally:
            self.active -= 1

    @property
    def busy(self) -> bool:
        """Whether the model has something to do, perhaps for callers that have gone."""
        return self.active > 0 or self.lane.busy

    @property
    def at_work(self) -> bool:
        """The same, but for what waits for its reader."""
        return self.active > self.unread or self.lane.busy

    @property
    def done(self) -> int:
        """Grows whenever the model has come to an end of something, also where its caller has gone."""
        return self.answered + self.lane.finished

    def _counting(self, observe: Observe) -> Observe:
        def observed(rows: int, waited_s: float, run_s: float, requests: int) -> None:
            self.answered += 1
            observe(rows, waited_s, run_s, requests)

        return observed

    async def retire(self) -> None:
        """Let what is in work finish, then let the model go. Nobody may call it any more."""
        while self.busy:  # noqa: ASYNC110 - an Event for a counter buys nothing here
            await asyncio.sleep(_POLL_S)
        self.lane.close()
        if self._loop:
            self._loop.close()
        if callable(stop := getattr(self._model, "stop", None)):
            try:
                await apart(stop, f"stop-{self._model.name}")
            except Exception as error:  # noqa: BLE001 - the model's own code
                _log.error("the model did not stop well", extra={"model": self._model.name}, exc_info=error)
            del stop
        # What counts its batches holds this object: until a collection comes by, the weights would stay with it.
        if self._batched:
            self._batched.close()
        del self._model, self._predict, self._explain, self._batched, self.health

    async def pieces(self, stream: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """A model's answer piece by piece, each made where the model's other coroutines run."""
        iterator = aiter(stream)
        self.active += 1
        try:
            while (piece := await self._beside(_next(iterator))) is not _END:
                self.answered += 1
                self.unread += 1
                try:
                    yield piece
                finally:
                    self.unread -= 1
        finally:
            self.active -= 1
            if hasattr(iterator, "aclose"):
                await self._beside(iterator.aclose())

    async def _beside(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await (coroutine if self._loop is None else self._loop.run(coroutine))

    def _way(self, sdk: ModuleType | None, name: str) -> Call:
        """Of `predict` or `explain`."""
        model = self._model
        if sdk and sdk.has_own_call(model):
            return self._whole(sdk.whole(model, name))
        hooks = sdk.hooks(model, name) if sdk else [(getattr(model, name), False)]
        steps = [_Step(*hook) for hook in hooks]
        if any(step.asynchronous for step in steps):
            self._asynchronous = True
            bulky = getattr(model, "bulky", None)
            return self._on_own_loop(
                lambda payload, headers, encode: _one_by_one(steps, payload, headers, encode, bulky)
            )
        lane = self.lane

        async def in_lane(payload: Any, headers: Headers, encode: Encode) -> Answer:
            record = CURRENT.get()

            def call() -> Answer:
                if record is not None and not record.entered:  # else the queue has seen it
                    record.taken = perf_counter_ns()
                response_headers: Headers = {}
                value = payload
                for step in steps:
                    value = step(value, headers, response_headers)
                return encode(value), response_headers

            return await lane.run(call)

        return in_lane

    def _whole(self, own: Callable[[Any, Headers], Awaitable[Answer]]) -> Call:
        async def call(payload: Any, headers: Headers, encode: Encode) -> Answer:
            value, response_headers = await own(payload, headers)
            return encode(value), response_headers

        return self._on_own_loop(call)

    def _on_own_loop(self, call: Callable[[Any, Headers, Encode], Coroutine[Any, Any, Answer]]) -> Call:
        loop = self._loop
        return call if loop is None else lambda payload, headers, encode: loop.run(call(payload, headers, encode))


class _Step:
    """One hook, bound, with the arguments it takes."""

    __slots__ = ("_hook", "_with_headers", "asynchronous")

    def __init__(self, hook: Callable[..., Any], with_headers: bool) -> None:
        self._hook = hook
        self._with_headers = with_headers
        self.asynchronous = inspect.iscoroutinefunction(hook)

    def __call__(self, value: Any, headers: Headers, response_headers: Headers) -> Any:
        return self._hook(value, headers, response_headers) if self._with_headers else self._hook(value, headers)


async def _in_time(work: Awaitable[T], deadline: float) -> T:
    try:
        async with asyncio.timeout_at(deadline) as timeout:
            return await work
    except TimeoutError as error:
        if timeout.expired():
            raise DeadlineExceeded from error
        raise


async def _next(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator, _END)


async def _one_by_one(
    steps: list[_Step], payload: Any, headers: Headers, encode: Encode, bulky: Callable[[Any], bool] | None
) -> Answer:
    response_headers: Headers = {}
    for step in steps:
        payload = step(payload, headers, response_headers)
        if step.asynchronous:
            payload = await payload
    if bulky is not None and bulky(payload):
        return await asyncio.to_thread(encode, payload), response_headers
    return encode(payload), response_headers


def _translated(name: str, error: Exception) -> RequestError:
    if said := said_by_model(name, error):
        return said
    _log.error("the model failed", extra={"model": name}, exc_info=error)
    return ModelFault(f"the model {name} failed; the server's log has the reason")


def said_by_model(name: str, error: BaseException) -> RequestError | None:
    """What a model has said on purpose, in one of the errors that it may raise for that; None: it has failed."""
    if isinstance(error, RequestError):
        return error
    for module, theirs, ours in _THEIR_ERRORS:
        if isinstance(error, _known(module, theirs)):
            return ours(str(error))
    if isinstance(error, _known("starlette.exceptions", "HTTPException")):
        status, detail = error.status_code, error.detail  # type: ignore[attr-defined]
        if status in _HTTP_ERRORS:
            return _HTTP_ERRORS[status](str(detail))
    if isinstance(error, NotImplementedError):
        return Unsupported(f"the model {name} does not do this")
    return None


def _known(module: str, name: str) -> type | tuple[()]:
    """A class of a library that the model has imported; we do not."""
    found: type | tuple[()] = getattr(sys.modules.get(module), name, ())
    return found
