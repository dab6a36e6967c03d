"""What a request passes inside one `kserve.Model`: preprocess, predict or explain, postprocess. Called by `repository.py`.

The SDK asks anew for every request which hooks are coroutines, and times each with four histograms. Here that is found
out once for each model, hooks that are the SDK's own are left out, and the rest is one call.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final

import kserve.errors
from kserve import Model
from kserve.model import InferenceVerb
from starlette.exceptions import HTTPException

from moorage_predictor.errors import InvalidInput, ModelFault, ModelUnavailable, NotFound, RequestError, Unsupported
from moorage_predictor.wire.lane import Lane, ModelLoop

_log = logging.getLogger(__name__)

Headers = dict[str, str]
Answer = tuple[Any, Headers]
"""What the model returned, and the response headers that it set."""
Encode = Callable[[Any], Any]
Call = Callable[[Any, Headers, Encode], Awaitable[Answer]]
_END: Final = object()


def _as_it_is(value: Any) -> Any:
    return value


_SDK_ERRORS: Final[tuple[tuple[type[Exception], type[RequestError]], ...]] = (
    (kserve.errors.InvalidInput, InvalidInput),
    (kserve.errors.InferenceError, InvalidInput),  # the SDK raises it for what a client asked for
    (kserve.errors.ModelNotFound, NotFound),
    (kserve.errors.ModelNotReady, ModelUnavailable),
    (kserve.errors.ServerNotReady, ModelUnavailable),
    (kserve.errors.UnsupportedProtocol, Unsupported),
)
_POLL_S: Final = 0.02
_HTTP_ERRORS: Final[dict[int, type[RequestError]]] = {
    400: InvalidInput,
    404: NotFound,
    422: InvalidInput,
    503: ModelUnavailable,
}


class Pipeline:
    """One model's hooks."""

    def __init__(self, model: Any) -> None:
        # Any: a kserve.Model, which has no types, or one of its bases.
        self._model = model
        self.active = 0
        """Requests in work and waiting."""
        self.lane = Lane(model.name)
        self._loop = None if getattr(model, "never_blocks", False) else ModelLoop(model.name)
        own_call = type(model).__call__ is not Model.__call__
        self._predict = self._whole(InferenceVerb.PREDICT) if own_call else self._hooks("predict")
        self._explain = self._whole(InferenceVerb.EXPLAIN) if own_call else self._hooks("explain")
        explains = own_call or not _is_sdks(model, "explain") or getattr(model, "explainer_host", None)
        self.explains = bool(explains)

    def predict(self, payload: Any, headers: Headers, encode: Encode = _as_it_is) -> Awaitable[Answer]:
        """Answer one request: a dictionary for V1, an `InferRequest` for V2. `encode` is called with the model's answer
        before the next request reaches the model, which may then write over what it returned.

        Raises:
            RequestError: what the model raised, translated; `ModelFault` if it is no error that it may raise.
        """
        return self._answer(self._predict, payload, headers, encode)

    def explain(self, payload: Any, headers: Headers, encode: Encode = _as_it_is) -> Awaitable[Answer]:
        """The same with the model's `explain`.

        Raises:
            RequestError: as `predict`; `Unsupported` if the model has none.
        """
        if not self.explains:
            raise Unsupported(f"the model {self._model.name} gives no explanations")
        return self._answer(self._explain, payload, headers, encode)

    async def _answer(self, call: Call, payload: Any, headers: Headers, encode: Encode) -> Answer:
        self.active += 1
        try:
            return await call(payload, headers, encode)
        except Exception as error:
            raise _translated(self._model.name, error) from error
        finally:
            self.active -= 1

    async def retire(self) -> None:
        """Let what is in work finish, then let the model go. Nobody may call it any more."""
        while self.active or self.lane.busy:  # noqa: ASYNC110 - an Event for a counter buys nothing here
            await asyncio.sleep(_POLL_S)
        self.lane.close()
        if self._loop:
            self._loop.close()
        if callable(stop := getattr(self._model, "stop", None)):
            try:
                await asyncio.to_thread(stop)
            except Exception as error:  # noqa: BLE001 - the model's own code
                _log.error("the model did not stop well", extra={"model": self._model.name}, exc_info=error)

    async def pieces(self, stream: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """A model's answer piece by piece, each made where the model's other coroutines run."""
        iterator = aiter(stream)
        self.active += 1
        try:
            while (piece := await self._beside(_next(iterator))) is not _END:
                yield piece
        finally:
            self.active -= 1
            if hasattr(iterator, "aclose"):
                await self._beside(iterator.aclose())

    async def _beside(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await (coroutine if self._loop is None else self._loop.run(coroutine))

    def _whole(self, verb: InferenceVerb) -> Call:
        """A model that has replaced `__call__` is called as the SDK would."""
        model = self._model

        async def call(payload: Any, headers: Headers, encode: Encode) -> Answer:
            result = model(payload, headers=headers, verb=verb)
            result = await result if inspect.isawaitable(result) else result
            value, response_headers = result if isinstance(result, tuple) else (result, {})
            return encode(value), response_headers

        return self._on_own_loop(call)

    def _on_own_loop(self, call: Callable[[Any, Headers, Encode], Coroutine[Any, Any, Answer]]) -> Call:
        loop = self._loop
        return call if loop is None else lambda payload, headers, encode: loop.run(call(payload, headers, encode))

    def _hooks(self, name: str) -> Call:
        model = self._model
        # Only predict and postprocess know response headers, and only if the model asked for them.
        with_headers = bool(getattr(model, "required_response_headers", False))
        steps = [
            _Step(getattr(model, hook), with_headers and hook in ("predict", "postprocess"))
            for hook in ("preprocess", name, "postprocess")
            if hook == name or not _is_sdks(model, hook)
        ]
        if any(step.asynchronous for step in steps):
            return self._on_own_loop(lambda payload, headers, encode: _one_by_one(steps, payload, headers, encode))
        lane = self.lane

        async def in_lane(payload: Any, headers: Headers, encode: Encode) -> Answer:
            def call() -> Answer:
                response_headers: Headers = {}
                value = payload
                for step in steps:
                    value = step(value, headers, response_headers)
                return encode(value), response_headers

            return await lane.run(call)

        return in_lane


class _Step:
    """One hook, bound, with the arguments it takes."""

    __slots__ = ("_hook", "_with_headers", "asynchronous")

    def __init__(self, hook: Callable[..., Any], with_headers: bool) -> None:
        self._hook = hook
        self._with_headers = with_headers
        self.asynchronous = inspect.iscoroutinefunction(hook)

    def __call__(self, value: Any, headers: Headers, response_headers: Headers) -> Any:
        return self._hook(value, headers, response_headers) if self._with_headers else self._hook(value, headers)


async def _next(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator, _END)


async def _one_by_one(steps: list[_Step], payload: Any, headers: Headers, encode: Encode) -> Answer:
    response_headers: Headers = {}
    for step in steps:
        payload = step(payload, headers, response_headers)
        if step.asynchronous:
            payload = await payload
    return encode(payload), response_headers


def _is_sdks(model: Any, hook: str) -> bool:
    own = getattr(model, hook, None)
    return getattr(own, "__func__", own) is getattr(Model, hook)


def _translated(name: str, error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    for sdk, ours in _SDK_ERRORS:
        if isinstance(error, sdk):
            return ours(str(error))
    if isinstance(error, HTTPException) and error.status_code in _HTTP_ERRORS:
        return _HTTP_ERRORS[error.status_code](str(error.detail))
    if isinstance(error, NotImplementedError):
        return Unsupported(f"the model {name} does not do this")
    _log.error("the model failed", extra={"model": name}, exc_info=error)
    return ModelFault(f"the model {name} failed; the server's log has the reason")
