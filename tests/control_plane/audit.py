"""Reads the API server's audit log, so that a test can count who wrote what.

mark = audit.mark()
...
assert audit.writes(since=mark, user="system:serviceaccount:moorage:controller") == []
"""

import json
from dataclasses import dataclass
from pathlib import Path

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {
            "level": "None",
            "namespaces": ["kube-system", "kube-node-lease"],
            "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
        },
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Request:
    """One finished request: `resource` is such as `deployments` or `pods/status`, `code` the HTTP status, `at` RFC 3339."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    user_agent: str
    group: str = ""
    at: str = ""


class AuditLog:
    """The audit log of a control plane that we started."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> int:
        """This moment, to be handed to `since`."""
        return self.path.stat().st_size if self.path.exists() else 0

    def requests(self, since: int = 0) -> list[Request]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as log:
            log.seek(max(0, since - 1))
            lines = log.read().split(b"\n")
        if since:
            del lines[0]  # of before: the newline at its end, or what was still to be written of it
        return [_request(json.loads(line)) for line in lines[:-1] if line]  # the last line may be half written

    def writes(self, since: int = 0, user: str | None = None, namespace: str | None = None) -> list[Request]:
        """Requests that would change something (refused ones too), by one user and in one namespace if given.

        Without the renewals of leases, which go on as long as somebody leads.
        """
        return [
            each
            for each in self.requests(since)
            if each.verb in WRITES
            and each.resource != "leases"
            and user in (None, each.user)
            and namespace in (None, each.namespace)
        ]


def _request(event: dict) -> Request:
    target = event.get("objectRef", {})
    subresource = target.get("subresource")
    return Request(
        user=event["user"].get("username", ""),
        verb=event["verb"],
        resource=target.get("resource", "") + (f"/{subresource}" if subresource else ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        user_agent=event.get("userAgent", ""),
        group=target.get("apiGroup", ""),
        at=event.get("requestReceivedTimestamp", ""),
    )
