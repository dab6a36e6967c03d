"""The one door to kopf. It watches the ModelDeployments and hands what it sees to the engine; nothing else happens here.

Only `on.event` is used: it keeps no progress in annotations, sets no finalizer and writes nothing, so that an edit during a
reconciliation is not lost, a spec may be large, and `kubectl delete` works with the controller down (docs/design/0003).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import kopf

from moorage.api.v1alpha1 import GROUP, PLURAL, VERSION
from moorage.controller.credentials import Credentials
from moorage.controller.engine import Engine


def registry(engine: Engine, credentials: Callable[[], Credentials]) -> kopf.OperatorRegistry:
    """The handlers of one controller process."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        """Also after a 401, when kopf takes only credentials that it has not seen fail: so they are read anew."""
        found = credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_data=found.ca_data.encode() if found.ca_data else None,
            insecure=found.insecure,
            token=found.token,
            certificate_data=found.certificate_data.encode() if found.certificate_data else None,
            private_key_data=found.key_data.encode() if found.key_data else None,
        )

    @kopf.on.startup(registry=handlers, backoff=1)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.persistence.finalizer = f"{GROUP}/finalizer"
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.networking.error_backoffs = _Endless()
        settings.watching.server_timeout = 290
        settings.watching.client_timeout = 330
        settings.batching.worker_limit = 16
        await engine.start()

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        await engine.stop()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        body = dict(event["object"])
        if event["type"] == "DELETED":
            engine.gone(body)
        else:
            engine.seen(body)

    return handlers


class _Endless:
    """Back-offs between kopf's own retries of a request, in seconds, for ever: an outage of any length is waited out."""

    def __iter__(self) -> Any:
        yield from (1, 1, 2, 3)
        while True:
            yield random.uniform(4, 6)  # noqa: S311 - jitter, not a secret


async def run(engine: Engine, credentials: Callable[[], Credentials], stop: asyncio.Event) -> None:
    """Run kopf and the engine until `stop` is set."""
    await kopf.operator(
        registry=registry(engine, credentials),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
    )
