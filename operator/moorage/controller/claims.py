"""Whether a namespace is ours to write in. Asked by engine.py before each reconciliation.

Two installations that look after one namespace would undo each other's work for ever. Neither sees the other, but each has an
admission policy that lets nobody else write a status (policy.py): who is refused by one leaves that namespace alone, and asks
by a dry run, once a minute, until it no longer is. Where both have their policy, both are refused, and both leave it alone.

A controller of some namespaces asks before its first write in each. One of all namespaces would ask thousands of times at
every start, and finds out when the first status is refused, after the objects of some models.
"""

import logging
import time
from collections.abc import Callable

from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.observe import MODEL_DEPLOYMENT
from moorage.controller.policy import STATUS_IS_OURS
from moorage.controller.store import Key

log = logging.getLogger(__name__)

AGAIN_S = 60.0
"""Between two questions whether a namespace that was another's still is."""


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
        self._ask_at: dict[str, float] = {}
        """Of each namespace that is another's, when to ask again."""

    def left_alone(self) -> int:
        """How many namespaces are another's."""
        return len(self._ask_at)

    async def holds(self, key: Key, body: Body) -> bool:
        """Whether what is made for this ModelDeployment is ours to write.

        Raises:
            ApiError: that could not be learned; to be tried again.
        """
        namespace = key.namespace
        lost = namespace in self._ask_at
        if not lost and (not self._ask_first or namespace in self._ours):
            return True
        if lost and time.monotonic() < self._ask_at[namespace]:
            return False
        if lost:
            self._ask_at[namespace] = time.monotonic() + AGAIN_S  # one asks for all
        try:
            await self._cluster.patch_status(
                MODEL_DEPLOYMENT, namespace, key.name, {}, body["metadata"]["resourceVersion"], dry_run=True
            )
        except ApiError as error:
            if self.lost(key, error):
                return False
            if lost:
                self._ask_at[namespace] = 0.0  # nothing was learned
            raise
        self._ours.add(namespace)
        if self._ask_at.pop(namespace, None) is not None:
            log.warning("no other installation looks after this namespace any more", extra={"namespace": namespace})
            self._returned(namespace)
        return True

    def lost(self, key: Key, error: ApiError) -> bool:
        """Take note of a refusal; whether it was that of another installation's policy."""
        if STATUS_IS_OURS not in error.message:
            return False
        if key.namespace not in self._ask_at:  # said once, not at each try
            words = {"namespace": key.namespace, "reason": "AnotherInstallation", "error": error.message}
            log.error("another installation looks after this namespace; it is left alone", extra=words)
        self._ours.discard(key.namespace)
        self._ask_at[key.namespace] = time.monotonic() + AGAIN_S
        return True
