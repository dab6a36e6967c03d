"""Requests to a running TorchServe, over its Unix socket. Called by `process.py` and, in threads, by `load.py`'s network."""

import json
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import ModelFault, ModelUnavailable

_BINARY: Final = {"Content-Type": "application/octet-stream"}
_LONGEST_WORDS: Final = 300


class Connection:
    """Of one TorchServe; safe to use from several threads."""

    def __init__(self, socket: Path, token: str, model_name: str, timeout_s: float | None) -> None:
        """`timeout_s` is of one pass; None is never."""
        self._path = f"/predictions/{model_name}"
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=None)),
            base_url="http://torchserve",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=False,
        )

    def describe(self, timeout_s: float) -> dict[str, Any]:
        """What the handler says of its network; the first answer comes when it is loaded.

        Raises:
            ModelUnavailable: there is no answer yet.
        """
        described: dict[str, Any] = json.loads(self._ask(b'{"describe":true}\n', timeout=timeout_s))
        return described

    def forward(self, rows: NDArray[np.float32], threads: int | None) -> NDArray[np.float32]:
        """Logits [n, classes] of [n, 3, height, width], made with so many cores; None is all.

        Raises:
            ModelUnavailable: TorchServe, or its worker, has ended.
            ModelFault: it answers with another error.
        """
        head = json.dumps({"shape": rows.shape, "threads": threads}).encode()
        answer = self._ask(head + b"\n" + np.ascontiguousarray(rows, "<f4").tobytes())
        return np.frombuffer(answer, "<f4").reshape(len(rows), -1)

    def healthy(self, timeout_s: float) -> bool | None:
        """Whether TorchServe says so of itself; None: it says nothing."""
        try:
            return self._client.get("/ping", timeout=timeout_s).status_code == httpx.codes.OK
        except (httpx.HTTPError, RuntimeError):
            return None

    def close(self) -> None:
        """After the last request."""
        self._client.close()

    def _ask(self, body: bytes, **options: Any) -> bytes:
        try:
            answer = self._client.post(self._path, content=body, headers=_BINARY, **options)
        except (httpx.HTTPError, RuntimeError) as error:  # the latter of a connection that was closed just now
            raise ModelUnavailable("TorchServe does not answer; it is being started again") from error
        if answer.status_code == httpx.codes.OK:
            return answer.content
        words = answer.text[:_LONGEST_WORDS]
        if answer.status_code in (500, 503, 507):  # no worker, or it has died
            raise ModelUnavailable("TorchServe has no worker that answers; try again") from RuntimeError(words)
        raise ModelFault("TorchServe answers with an error; the server's log has the reason") from RuntimeError(words)
