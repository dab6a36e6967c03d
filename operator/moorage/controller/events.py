"""Kubernetes Events on transitions of conditions: what `kubectl describe` shows. Losing one is never an error."""

import hashlib
import logging
from datetime import datetime
from typing import Any

from moorage.api.conditions import ACCEPTED, PROGRESS, READY
from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.observe import EVENT

log = logging.getLogger(__name__)


def transitions(before: Body, after: Body) -> list[dict[str, Any]]:
    """The conditions that became another status or another reason, without those that merely begin as not yet so."""
    old = {item["type"]: item for item in before.get("conditions", [])}
    changed = []
    for item in after["conditions"]:
        was = old.get(item["type"])
        if was is None:
            if item["type"] == ACCEPTED or item["status"] == "True":
                changed.append(item)
        elif (was["status"], was["reason"]) != (item["status"], item["reason"]):
            changed.append(item)
    return [item for item in changed if item["type"] != READY or item["status"] == "True" or READY in old]


async def post(cluster: Cluster, owner: Body, condition: dict[str, Any], now: datetime) -> None:
    """One Event about one condition of `owner`."""
    metadata = owner["metadata"]
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{metadata['uid']}{condition['type']}{condition['status']}{condition['reason']}{now.timestamp()}"
    event = {
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
        "type": "Normal" if condition["status"] == "True" or condition["reason"] in PROGRESS else "Warning",
        "reason": condition["reason"],
        "message": f"{condition['type']}={condition['status']}: {condition['message']}"[:1024],
        "source": {"component": "moorage"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
    try:
        await cluster.create(EVENT, event)
    except ApiError as error:
        log.debug("event not posted", extra={"reason": error.reason, "error": error.message})
