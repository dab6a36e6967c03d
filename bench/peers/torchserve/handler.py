"""TorchServe's handler with the tiny network or the image classifier; `launch.py` puts it into the model archive.

It gets the requests of one batch as a list and returns as many answers. Which of the two it serves, the model's name says.
"""

import base64
from collections.abc import Callable
from typing import Any

Bodies = list[dict[str, Any]]


class Handler:
    """The entry point."""

    def initialize(self, context: Any) -> None:
        self.context = context
        self.answer = tiny() if context.manifest["model"]["modelName"] == "tiny" else photos()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> Bodies:
        return self.answer([request["body"] for request in data])


def tiny() -> Callable[[Bodies], Bodies]:
    """{"x": [four numbers]} -> {"y": [three numbers]}."""
    from bench.models.network import answer, build

    network = build()
    return lambda bodies: [{"y": y} for y in answer(network, [body["x"] for body in bodies])]


def photos() -> Callable[[Bodies], Bodies]:
    """{"instances": [{"b64": ...}]}, one instance each -> {"predictions": [[best classes]]}."""
    from bench.models.images.classifier import Classifier

    classifier = Classifier.from_environment()

    def answer(bodies: Bodies) -> Bodies:
        found = classifier([base64.b64decode(body["instances"][0]["b64"]) for body in bodies])
        return [{"predictions": [best]} for best in found]

    return answer
