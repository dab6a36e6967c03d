"""Our predictor, started as a person starts it: with a model of their own, or with the folder of a network.

A point's `around` is what else a request passes: "usual" (metrics and request ids, as without any option), "everything" (an
API key, its rate limit counted in memory, and a line in the log, besides) or "nothing" (see `bare.py`).
"""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from bench.harness.launch import Launch, Place
from bench.predictor import dialects, engines
from bench.protocols.payloads import READY, v2

KEYS = "keys.json"
RATE_LIMIT = "1000000000/minute by=key operation=predict"
"""Nobody reaches it."""


def launch(place: Place) -> Launch:
    http_port, grpc_port = place.ports[:2]
    point = dict(place.point)
    around = point.pop("around", "usual")
    module = "bench.peers.moorage.bare" if around == "nothing" else "moorage_predictor"
    argv = [str(place.python), "-m", module, f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    if place.workload == "images":
        options = {"model_name": dialects.MODEL} | engines.options(place.model or place.folder, place.point)
        return Launch(argv + _options(options), dialects.v1_and_v2(), grpc_port=grpc_port, ready=READY)
    name = place.workload
    argv += [f"--model-name={name}", f"--task=bench/models/{name}.py:{name.title()}"]
    argv += _options(point)
    headers = {}
    if around == "everything":
        headers["X-API-Key"] = _key(place)
        argv += [f"--access-keys-file={place.folder / KEYS}", f"--rate-limit={RATE_LIMIT}", "--request-log=all"]
    return Launch(argv, {name: v2(f"/v2/models/{name}/infer", headers)}, grpc_port=grpc_port, ready=READY)


def _key(place: Place) -> str:
    """A new key, in a file of its own."""
    command = [place.python, "-m", "moorage", "keys", "create", f"--file={place.folder / KEYS}", "--output=json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return str(json.loads(done.stdout)["key"])


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
