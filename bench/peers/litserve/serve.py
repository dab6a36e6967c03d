"""LitServe with the tiny network or the image classifier, as its documentation writes an API. Started by `launch.py`."""

import argparse
import base64
from typing import Any

import litserve

BATCH_WAIT_S = {"tiny": 0.001, "images": 0.01}


class Tiny(litserve.LitAPI):
    """{"x": [four numbers]} -> {"y": [three numbers]}; LitServe makes lists of them where it batches."""

    def setup(self, device: str) -> None:
        from bench.models.network import answer, build

        self.network, self.answer = build(), answer

    def decode_request(self, request: dict[str, Any]) -> list[float]:
        return request["x"]

    def predict(self, x: Any) -> Any:
        return self.answer(self.network, x) if self.max_batch_size > 1 else self.answer(self.network, [x])[0]

    def batch(self, inputs: list[list[float]]) -> list[list[float]]:
        return inputs

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"y": output}


class Images(litserve.LitAPI):
    """{"instances": [{"b64": ...}]}, one instance each -> {"predictions": [[best classes]]}."""

    def setup(self, device: str) -> None:
        from bench.models.images.classifier import Classifier

        self.classifier = Classifier.from_environment()

    def decode_request(self, request: dict[str, Any]) -> bytes:
        return base64.b64decode(request["instances"][0]["b64"])

    def predict(self, x: Any) -> Any:
        return self.classifier(x) if self.max_batch_size > 1 else self.classifier([x])[0]

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"predictions": [output]}


APIS = {"tiny": Tiny, "images": Images}


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--port", "--workers", "--api-servers", "--max-batch-size"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--workload", choices=APIS, required=True)
    arguments = parser.parse_args()
    size = arguments.max_batch_size
    wait = BATCH_WAIT_S[arguments.workload] if size > 1 else 0.0
    api = APIS[arguments.workload](max_batch_size=size, batch_timeout=wait)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=arguments.workers, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=arguments.api_servers,
        generate_client_file=False,
        log_level="error",
        access_log=False,
    )


if __name__ == "__main__":
    main()
