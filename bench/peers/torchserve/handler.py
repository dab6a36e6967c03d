"""TorchServe's handler with the tiny network; `launch.py` puts it into the model archive.

It gets the requests of one batch as a list and returns as many answers.
"""

from typing import Any

from bench.models.network import answer, build


class Tiny:
    """{"x": [four numbers]} -> {"y": [three numbers]}."""

    def initialize(self, context: Any) -> None:
        self.network = build()
        self.context = context
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        rows = [request["body"]["x"] for request in data]
        return [{"y": y} for y in answer(self.network, rows)]
