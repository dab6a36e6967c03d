"""Requests of several callers in one call of the user's model. Made by `pipeline.py` where `--max-batch-size` asks for it.

call() -> company() -> Batcher -> merged() -> the model's hooks -> parted() -> each caller's own encode
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, NamedTuple

from moorage_predictor.batching import Batcher, BatchLimits, Observe
from moorage_predictor.telemetry.record import CURRENT
from moorage_predictor.wire.merge import NotByRowsError, company, merged, parted
from moorage_predictor.wire.messages import Types

_log = logging.getLogger(__name__)

Headers = dict[str, str]
Answer = tuple[Any, Headers]
"""What the model returned, encoded, and the response headers that it set."""
Encode = Callable[[Any], Any]


class _Request(NamedTuple):
    payload: Any
    headers: Headers
    encode: Encode
    rows: int
    context: Context | None
    """Of a request that is traced: what the model calls for it alone belongs to its trace."""


class Batched:
    """One model's `predict`."""

    def __init__(
        self, name: str, call: Callable[[Any, Headers, Encode], Awaitable[Answer]], types: Types, limits: BatchLimits
    ) -> None:
        self._name = name
        self._call = call
        self._types = types
        self._batcher: Batcher[_Request] = Batcher(self._run, limits)
        self._by_rows = True

    @property
    def waiting(self) -> int:
        """Rows that wait for a call."""
        return self._batcher.waiting

    def observed_by(self, observe: Observe) -> None:
        """Tell of every batch."""
        self._batcher.observe = observe

    def close(self) -> None:
        """After the last request: let the model go, which the batcher's hold of this object would keep."""
        del self._call

    async def __call__(self, payload: Any, headers: Headers, encode: Encode, priority: int) -> Answer:
        """Answer one request, alone or in company. A batch of several has no headers, because whose would they be?"""
        key, rows = (company(payload) if self._by_rows else None) or (object(), 1)
        record = CURRENT.get()
        context = None if record is None or record.span is None else copy_context()
        request = _Request(payload, headers, encode, rows, context)
        answer: Answer = await self._batcher.submit(request, rows, key, priority)
        return answer

    async def _run(self, payloads: Sequence[_Request], *, alone: bool) -> Sequence[Any]:
        if len(payloads) == 1:
            work, context = self._call(*payloads[0][:3]), payloads[0].context
            return [await (work if context is None else context.run(asyncio.ensure_future, work))]
        bodies, rows = [request.payload for request in payloads], [request.rows for request in payloads]

        def encode_each(result: Any) -> list[Any]:
            parts = parted(result, bodies, rows)
            return [_encoded(request.encode, part) for request, part in zip(payloads, parts, strict=True)]

        try:
            encoded, headers = await self._call(merged(bodies, self._types), {}, encode_each)
        except NotByRowsError as error:
            self._by_rows = False
            _log.warning(
                "the model does not answer row by row; its requests run one by one from now on",
                extra={"model": self._name, "reason": str(error)},
            )
            raise
        return [one if isinstance(one, Exception) else (one, headers) for one in encoded]


def _encoded(encode: Encode, part: Any) -> Any:
    """The answer's bytes, or why this caller's answer cannot be sent."""
    try:
        return encode(part)
    except Exception as error:  # noqa: BLE001 - handed to this caller alone
        return error
