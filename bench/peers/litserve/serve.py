"""LitServe with the tiny network, as its documentation writes an API. Started by `launch.py`."""

import argparse
from typing import Any

import litserve
from bench.models.network import answer, build

BATCH_WAIT_S = 0.001


class Tiny(litserve.LitAPI):
    """{"x": [four numbers]} -> {"y": [three numbers]}; LitServe makes lists of them where it batches."""

    def setup(self, device: str) -> None:
        self.network = build()

    def decode_request(self, request: dict[str, Any]) -> list[float]:
        return request["x"]

    def predict(self, x: Any) -> Any:
        return answer(self.network, x) if self.max_batch_size > 1 else answer(self.network, [x])[0]

    def batch(self, inputs: list[list[float]]) -> list[list[float]]:
        return inputs

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"y": output}


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--port", "--workers", "--api-servers", "--max-batch-size"):
        parser.add_argument(option, type=int, required=True)
    arguments = parser.parse_args()
    size = arguments.max_batch_size
    api = Tiny(max_batch_size=size, batch_timeout=BATCH_WAIT_S if size > 1 else 0.0)
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
