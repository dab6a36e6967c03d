"""The application behind `--metrics-port`: /metrics, and the health routes for probes that have no certificate to show. Made by
`wire/metrics_listener.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from moorage.api.predictor import LIVE_PATH, READY_PATH
from moorage_predictor.errors import MethodNotAllowed, NotFound
from moorage_predictor.metrics import CONTENT_TYPE, Metrics
from moorage_predictor.wire.http.answers import send_error, send_json, send_parts
from moorage_predictor.wire.http.types import Receive, Scope, Send

METRICS_TYPE: Final = (b"content-type", CONTENT_TYPE.encode())
_PATHS: Final = ("/metrics", LIVE_PATH, READY_PATH)


class MetricsApp:
    """Of one process."""

    def __init__(self, metrics: Metrics, is_ready: Callable[[], Awaitable[bool]]) -> None:
        self._metrics = metrics
        self._is_ready = is_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            path = scope["path"]
            if path not in _PATHS:
                raise NotFound(f"no such path here: {path[:80]}; there is {', '.join(_PATHS)}")
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed(path, ["GET"])
            if path == LIVE_PATH:
                await send_json(send, {"live": True})
            elif path == READY_PATH:  # without the reason: nobody is asked for a key here
                ready = await self._is_ready()
                await send_json(send, {"ready": ready}, 200 if ready else 503)
            else:
                await send_parts(send, [await self._metrics.text()], (METRICS_TYPE,))
        except Exception as error:  # noqa: BLE001 - the catch-all of this port
            await send_error(scope, receive, send, error)
