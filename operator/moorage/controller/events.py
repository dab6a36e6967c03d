"""Kubernetes Events on transitions of conditions: what `kubectl describe` shows. Losing one is never an error.

reconcile.py -> Events.put -> one task that posts them in their order, so that no model waits for another one's events
"""

import asyncio
import hashlib
import logging
from collections import deque
from datetime import datetime
from typing import Any

from moorage.api.conditions import ACCEPTED, DEGRADED, PROGRESS, READY, RECONCILING, STALLED, TYPES
from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.observe import EVENT

log = logging.getLogger(__name__)

MAX_WAITING = 10_000


def transitions(before: Body, after: Body) -> list[dict[str, Any]]:
    """The conditions that became another status or another reason, without those that merely begin as not yet so.

    Reconciling and Stalled say nothing that Ready does not say; `<Feature>Unavailable` is told when it comes.
    """
    old = {item["type"]: item for item in before.get("conditions", [])}
    changed = []
    for item in after["conditions"]:
        if item["type"] in (RECONCILING, STALLED):
            continue
        was = old.get(item["type"])
        if was is None:
            if item["type"] == ACCEPTED or item["status"] == "True":
                changed.append(item)
        elif (was["status"], was["reason"]) != (item["status"], item["reason"]):
            changed.append(item)
    return [item for item in changed if item["type"] != READY or item["status"] == "True" or READY in old]


class Events:
    """Those that are to be posted. Where they come faster than they can be, the oldest are lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: deque[Body] = deque(maxlen=MAX_WAITING)
        self._some = asyncio.Event()

    def put(self, owner: Body, condition: dict[str, Any], now: datetime) -> None:
        """One about one condition of `owner`."""
        if len(self._waiting) == MAX_WAITING:
            log.warning(
                "events come faster than they can be posted; the oldest is lost", extra={"reason": "EventsLost"}
            )
        self._waiting.append(_event(owner, condition, now))
        self._some.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            await self.post()

    async def post(self) -> None:
        """All that wait."""
        self._some.clear()
        while self._waiting:
            try:
                await self._cluster.create(EVENT, self._waiting.popleft())
            except ApiError as error:
                log.debug("event not posted", extra={"reason": error.reason, "error": error.message})
            except Exception:
                log.exception("event not posted", extra={"reason": "Bug"})  # and the next one is


def _event(owner: Body, condition: dict[str, Any], now: datetime) -> Body:
    metadata = owner["metadata"]
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{metadata['uid']}{condition['type']}{condition['status']}{condition['reason']}{now.timestamp()}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": "Normal" if _is_normal(condition) else "Warning",
        "reason": condition["reason"],
        "message": f"{condition['type']}={condition['status']}: {condition['message']}"[:1024],
        "source": {"component": "moorage"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _is_normal(condition: dict[str, Any]) -> bool:
    if condition["type"] not in TYPES or condition["reason"] == DEGRADED.name:
        return False
    return condition["status"] == "True" or condition["reason"] in PROGRESS
