"""The least that Python can do: uvicorn with uvloop and httptools, one ASGI function, orjson, and the network itself.

No validation, no routes, no errors, no metrics: not a server to use, but the distance to it is what a server costs.
"""

from typing import Any

import orjson
import torch
from bench.models.network import build

network = build()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Every POST is taken for a V2 request with one FP32 input."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    tensor = orjson.loads(body)["inputs"][0]
    with torch.inference_mode():
        y = network(torch.tensor(tensor["data"], dtype=torch.float32).reshape(tensor["shape"]))
    output = {"name": "y", "datatype": "FP32", "shape": list(y.shape), "data": y.flatten().tolist()}
    answer = orjson.dumps({"model_name": "tiny", "outputs": [output]})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
