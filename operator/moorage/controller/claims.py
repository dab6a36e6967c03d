"""Whether a namespace is ours to write in. Asked by engine.py before each reconciliation.

Two installations that look after one namespace would undo each other's work for ever. Neither sees the other, but each has an
admission policy that lets nobody else write a status (policy.py): who is refused by one leaves that namespace alone, and asks
by a dry run until it no longer is: after a second, since the API server enforces a policy that is gone for a moment longer, then
ever more seldom, at last once a minute. Where both have their policy, both are refused, and both leave it alone.

A controller of some namespaces asks before its first write in each. One of all namespaces would ask thousands of times at
every start, and finds out when the first status is refused, after the objects of some models.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.observe import MODEL_DEPLOYMENT
from moorage.controller.policy import STATUS_IS_OURS
from moorage.controller.store import Key

log = logging.getLogger(__name__)

FIRST_S, LONGEST_S = 1.0, 60.0
"""Between two questions whether a namespace that was another's still is: the first wait, doubled at each answer up to the longest."""


@dataclass(slots=True)
class _Loss:
    """Of a namespace that is another's, when to ask again (by the monotonic clock), and for how long that was put off."""

    ask_at: float
    wait_s: float


class Claims:
    """By namespace, what is known.

    Args:
        ask_first: before the first write in a namespace.
        returned: told of a namespace that was another's and is ours again.
    """

    def __init__(
        self, cluster: Cluster, *, ask_first: bool, returned: Callable[[str], None] = lambda namespace: None
    ) -> None:
        self._cluster, self._ask_first, self._returned = cluster, ask_first, returned
        self._ours: set[str] = set()
        self._lost: dict[str, _Loss] = {}

    def left_alone(self) -> int:
        """How many namespaces are another's."""
        return len(self._lost)

    def ask_in_s(self, namespace: str) -> float | None:
        """In how many seconds to ask again for a namespace that is another's; None for any other."""
        loss = self._lost.get(namespace)
        return None if loss is None else max(0.0, loss.ask_at - time.monotonic())

    async def holds(self, key: Key, body: Body) -> bool:
        """Whether what is made for this ModelDeployment is ours to write.

        Raises:
            ApiError: that could not be learned; to be tried again.
        """
        namespace = key.namespace
        loss = self._lost.get(namespace)
        if loss is None and (not self._ask_first or namespace in self._ours):
            return True
        before_s = loss.wait_s if loss is not None else FIRST_S
        if loss is not None:
            if time.monotonic() < loss.ask_at:
                return False
            loss.wait_s = min(LONGEST_S, before_s * 2)
            loss.ask_at = time.monotonic() + loss.wait_s  # one asks for all
        try:
            await self._cluster.patch_status(
                MODEL_DEPLOYMENT, namespace, key.name, {}, body["metadata"]["resourceVersion"], dry_run=True
            )
        except ApiError as error:
            if self.lost(key, error):
                return False
            if loss is not None:
                loss.ask_at, loss.wait_s = 0.0, before_s  # nothing was learned
            raise
        self._ours.add(namespace)
        if self._lost.pop(namespace, None) is not None:
            log.warning("no other installation looks after this namespace any more", extra={"namespace": namespace})
            self._returned(namespace)
        return True

    def lost(self, key: Key, error: ApiError) -> bool:
        """Take note of a refusal; whether it was that of another installation's policy."""
        if STATUS_IS_OURS not in error.message:
            return False
        if key.namespace not in self._lost:  # said once, not at each try
            words = {"namespace": key.namespace, "reason": "AnotherInstallation", "error": error.message}
            log.error("another installation looks after this namespace; it is left alone", extra=words)
            self._lost[key.namespace] = _Loss(time.monotonic() + FIRST_S, FIRST_S)
        self._ours.discard(key.namespace)
        return True
