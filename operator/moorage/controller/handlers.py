"""The one door to kopf. It watches the ModelDeployments and hands what it sees to the engine; nothing else happens here.

Only `on.event` is used: it keeps no progress in annotations, sets no finalizer and writes nothing, so that an edit during a
reconciliation is not lost, a spec may be large, and `kubectl delete` works with the controller down (docs/design/0003).

kopf ends on what it does not expect, and cancels every task of its loop as it does. So it has a thread and a loop of its
own, and `intake.py` starts the next one (docs/design/0018).
"""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import kopf
import uvloop

from moorage.api.v1alpha1 import GROUP, PLURAL, VERSION
from moorage.controller.cluster import Body
from moorage.controller.credentials import Credentials

log = logging.getLogger(__name__)

CALL_TIMEOUT_S, CONNECT_TIMEOUT_S = 30.0, 10.0
STOP_TIMEOUT_S = 8.0


@dataclass(frozen=True)
class Told:
    """Whom kopf tells: called in the loop of whoever started it."""

    seen: Callable[[Body], None]
    gone: Callable[[Body], None]


def registry(
    credentials: Callable[[], Credentials], tell: Callable[[str | None, Body], None], idle_s: float
) -> kopf.OperatorRegistry:
    """The handlers of one run of kopf."""
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

    @kopf.on.startup(registry=handlers)
    def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.persistence.finalizer = f"{GROUP}/finalizer"
        settings.posting.enabled = False
        settings.peering.standalone = True
        # No watch of CRDs and namespaces, which need rights in the whole cluster: intake.py waits for the kind.
        settings.scanning.disabled = True
        settings.networking.error_backoffs = _Endless()
        settings.networking.request_timeout = CALL_TIMEOUT_S
        settings.networking.connect_timeout = CONNECT_TIMEOUT_S
        settings.watching.server_timeout = int(idle_s * 5 / 6)
        settings.watching.inactivity_timeout = idle_s
        # A task of kopf's stands for each object, and lives on for this long: with a limit, so many would hold up the rest.
        settings.queueing.worker_limit = None
        settings.queueing.idle_timeout = 1.0
        settings.queueing.exit_timeout = 1.0
        # It would kill the whole process, minutes after kopf has ended.
        settings.process.ultimate_exiting_timeout = None

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        tell(event["type"], dict(event["object"]))

    return handlers


class _Endless:
    """Back-offs between kopf's own retries of a request, in seconds, for ever: an outage of any length is waited out."""

    def __iter__(self) -> Any:
        yield from (1, 1, 2, 3)
        while True:
            yield random.uniform(4, 6)  # noqa: S311 - jitter, not a secret


class KopfThread:
    """One run of kopf. `ended` is set when it is over, whatever ended it.

    Args:
        credentials: how to reach the API server.
        told: of every ModelDeployment that was seen, and of every one that went.
        namespaces: those to watch; none stands for all.
        idle_s: how long a watch may be silent.
    """

    def __init__(
        self, credentials: Callable[[], Credentials], told: Told, namespaces: Sequence[str], idle_s: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._told, self._namespaces = told, namespaces
        self._registry = registry(credentials, self._tell, idle_s)
        self._kopfs_loop = uvloop.new_event_loop()
        self._run_of_kopf: asyncio.Task[None] | None = None
        self._stopped = False
        self.ended = asyncio.Event()
        # Signals are the main thread's business; kopf warns of that at each start.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ask it to end, and wait for that; one that does not is left behind, and what it says is not heard."""
        self._stopped = True
        with suppress(RuntimeError):  # it has ended already
            self._kopfs_loop.call_soon_threadsafe(self._cancel)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.ended.wait()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._kopfs_loop) as runner:
                runner.run(self._operate())
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - told by kopf's own log in full; the next run begins anew
            log.warning("kopf ended", extra={"reason": type(error).__name__, "error": str(error)[:500]})
        finally:
            with suppress(RuntimeError):  # the loop of whoever started it has ended first
                self._loop.call_soon_threadsafe(self.ended.set)

    async def _operate(self) -> None:
        self._run_of_kopf = asyncio.current_task()
        if self._stopped:
            return
        # Without a stop flag of kopf's: a task that waits for it would be waited for, 5 s, when kopf ends by itself.
        await kopf.operator(
            registry=self._registry,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
        )

    def _cancel(self) -> None:
        if self._run_of_kopf is not None:
            self._run_of_kopf.cancel()

    def _tell(self, kind: str | None, body: Body) -> None:
        if not self._stopped:
            self._loop.call_soon_threadsafe(self._told.gone if kind == "DELETED" else self._told.seen, body)
