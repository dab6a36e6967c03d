"""The controller's own HTTP server: /healthz, /readyz and /metrics, and with --profiling /debug. Made by process.py.

/healthz is whether a restart would help: a task has ended that never should. An API server that is away is no reason.
/readyz is whether what the controller knows is fresh: the first view of the cluster is in, and no watch has been silent
for longer than the API server can be.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aiohttp import web
from prometheus_client import generate_latest

from moorage.controller import profiling
from moorage.controller.instruments import Instruments

STALE_PER_IDLE = 1.5
"""A silent watch is opened anew after its idle time; that, and the recount of kopf's, may take half of it again."""


class Health:
    """What the endpoints answer.

    Args:
        alive: whether every task goes on.
        ready: whether the first view of the cluster is in.
        leads: whether this controller writes.
        silent_s: by kind, for how long the API server has said nothing of it.
        stale_s: how long is too long.
    """

    def __init__(
        self,
        *,
        alive: Callable[[], bool],
        ready: Callable[[], bool],
        leads: Callable[[], bool],
        silent_s: Callable[[], dict[str, float]],
        stale_s: float,
    ) -> None:
        self._alive, self._ready, self._leads = alive, ready, leads
        self._silent_s, self._stale_s = silent_s, stale_s

    def live(self) -> tuple[bool, dict[str, object]]:
        """Whether it is, and the body of the answer."""
        alive = self._alive()
        return alive, {"live": alive}

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether it is, and the body of the answer: which watches are stale, and since when."""
        now = datetime.now(UTC)
        stale = {
            kind: (now - timedelta(seconds=silent)).strftime("%Y-%m-%dT%H:%M:%SZ")
            for kind, silent in sorted(self._silent_s().items())
            if silent > self._stale_s
        }
        ready = self._alive() and self._ready() and not stale
        return ready, {"ready": ready, "leading": self._leads(), **({"staleSince": stale} if stale else {})}


def app(
    health: Health, instruments: Instruments, update_gauges: Callable[[], None], *, profile: bool
) -> web.Application:
    """The application. /debug costs nothing unless `profile`, and shows what runs to whoever can reach the port."""

    async def live(_: web.Request) -> web.Response:
        fine, body = health.live()
        return web.json_response(body, status=200 if fine else 503)

    async def ready(_: web.Request) -> web.Response:
        fine, body = health.ready()
        return web.json_response(body, status=200 if fine else 503)

    async def metrics(_: web.Request) -> web.Response:
        update_gauges()
        return web.Response(
            body=generate_latest(instruments.registry), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    made = web.Application()
    made.add_routes([web.get("/healthz", live), web.get("/readyz", ready), web.get("/metrics", metrics)])
    if profile:
        made.add_routes(profiling.routes())
    return made
