"""What features and attention cost: one predictor, in turn asked for classes alone, for features besides, and for attention.

    python -m bench.features            `make bench-features`

ViT-S/16 at 224 pixels, real JPEGs, V2 with bytes in and out, eight connections. The last line of stdout is the RESULT: medians of
the ratios of stretches that lie side by side.
"""

import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.predictor import assets
from tests.control_plane.process import free_ports

ARCHITECTURE: Final = "vit_small_patch16_224"
CONNECTIONS: Final = 8
STRETCH_S: Final = 4.0
REPETITIONS: Final = 9
START_S: Final = 60.0
ASKED: Final = {"classes": (), "features": ("features",), "attention": ("attention",)}
"""Outputs beside the classes."""


def body_of(photo: bytes, outputs: tuple[str, ...]) -> tuple[bytes, dict[str, str]]:
    """A V2 request with the file as bytes, and its headers."""
    data = len(photo).to_bytes(4, "little") + photo
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in ("class_id", "confidence", *outputs)]
    head = json.dumps({"inputs": [image], "outputs": wanted}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


@contextmanager
def serving(found: assets.Assets) -> Iterator[int]:
    """A predictor that is ready; its port."""
    http_port, grpc_port = free_ports(2)
    options = ["--model-name=net", "--task=image-classification", f"--model-dir={found.model(ARCHITECTURE)}"]
    ports = [f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "moorage_predictor", *options, *ports]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_S
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/health/ready").close()
                    break
                except OSError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield http_port
        finally:
            process.terminate()
            process.wait()


def images_per_s(port: int, photos: tuple[bytes, ...], outputs: tuple[str, ...], seconds: float) -> float:
    """So many connections, each with one request at a time.

    Raises:
        RuntimeError: an answer was not 200, or lacks what was asked for.
    """
    requests = itertools.cycle([body_of(photo, outputs) for photo in photos])
    done, ends = [0] * CONNECTIONS, time.perf_counter() + seconds
    failures: list[str] = []

    def ask(place: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < ends and not failures:
            body, headers = next(requests)
            connection.request("POST", "/v2/models/net/infer", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200 or any(name.encode() not in content[:2000] for name in outputs):
                failures.append(f"{answer.status}: {content[:300]!r}")
            done[place] += 1

    began = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(place,)) for place in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return sum(done) / (time.perf_counter() - began)


def main() -> None:
    """See the module."""
    found = assets.ready(lambda text: print(text, file=sys.stderr))
    speeds: dict[str, list[float]] = {name: [] for name in ASKED}
    with serving(found) as port:
        for outputs in ASKED.values():
            images_per_s(port, found.files, outputs, STRETCH_S)
        for _ in range(REPETITIONS):
            for name, outputs in ASKED.items():
                speeds[name].append(images_per_s(port, found.files, outputs, STRETCH_S))
    for name, values in speeds.items():
        print(f"{name:10} {statistics.median(values):6.1f} images/s ({', '.join(f'{value:.1f}' for value in values)})")

    def against(name: str) -> float:
        return statistics.median(one / plain for one, plain in zip(speeds[name], speeds["classes"], strict=True))

    print(f"RESULT features_throughput={against('features'):.3f} attention_cost={1 / against('attention'):.2f}")


if __name__ == "__main__":
    main()
