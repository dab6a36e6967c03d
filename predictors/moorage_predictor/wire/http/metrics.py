"""The application behind `--metrics-port`: /metrics and nothing else. Made by `wire/server.py`."""

from typing import Final

from moorage_predictor.errors import MethodNotAllowed, NotFound
from moorage_predictor.metrics import CONTENT_TYPE, Metrics
from moorage_predictor.wire.http.answers import send_error, send_parts
from moorage_predictor.wire.http.types import Receive, Scope, Send

METRICS_TYPE: Final = (b"content-type", CONTENT_TYPE.encode())
_PATH: Final = "/metrics"


class MetricsApp:
    """Of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            if scope["path"] != _PATH:
                raise NotFound(f"no such path here: {scope['path'][:80]}; there is {_PATH}")
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed(_PATH, ["GET"])
            await send_parts(send, [await self._metrics.text()], (METRICS_TYPE,))
        except Exception as error:  # noqa: BLE001 - the catch-all of this port
            await send_error(scope, receive, send, error)
