"""Models that do what a request tells them: sleep, refuse, fail. `load` leaves `ready` as it was."""

import asyncio
import time

from kserve import Model
from kserve.errors import InvalidInput


class Moody(Model):
    """Its hooks are functions."""

    def __init__(self, name: str):
        super().__init__(name)

    def load(self):
        self.ready = False  # as one documented example has it

    def predict(self, payload, headers=None):
        return {"predictions": [self.obey(order) for order in payload["instances"]]}

    def obey(self, order):
        if isinstance(order, dict) and "sleep" in order:
            time.sleep(order["sleep"])
        elif order == "refuse":
            raise InvalidInput("instances[0]: this one I do not like")
        elif order == "fail":
            raise RuntimeError("/secret/path: token=hunter2")
        elif order == "exit":
            raise SystemExit(3)
        return order


class MoodyCoroutine(Moody):
    """The same as coroutines, which block all the same."""

    async def preprocess(self, payload, headers=None):
        await asyncio.sleep(0)
        return payload

    async def predict(self, payload, headers=None):
        return Moody.predict(self, payload, headers)
