"""What the cluster can do, learned from the API server's discovery, at start and whenever it changes, without a restart.

process.py starts it -> Reconciler asks `current()` -> render (KServe's word for the mode) and status (`<Feature>Unavailable`)

Discovery is polled, not watched: it also tells of what is no CRD (metrics.k8s.io), needs no right that not everybody has,
never falls silent, and an answer that nothing has changed is a few bytes (304).
"""

import asyncio
import logging
import random
import re
from collections.abc import Callable, Iterator

from moorage.api.features import FEATURES, KSERVE
from moorage.controller.cluster import ApiError, Body, Cluster, Resource
from moorage.controller.observe import DEPLOYMENT
from moorage.render import Capabilities

log = logging.getLogger(__name__)

POLL_S = 10.0
POLLS_PER_LOOK = 30
"""KServe's version and the nodes are asked for when discovery changes, and this rarely else: an upgrade, and a node that comes,
may change no resource."""
NODE = Resource("v1", "Node", "nodes")
NODES_AT_ONCE = 100
"""A node is some 20 KB, most of it names of images, and there may be thousands."""
KSERVE_CONTROLLER = "control-plane=kserve-controller-manager"
STANDARD_SINCE = (0, 16)
_TAG = re.compile(r":v?(\d+)\.(\d+)[^/]*\Z")


class Discovery:
    """Keeps what is known of the cluster, and tells when that has changed.

    Args:
        cluster: where to ask.
        clusterwide: whether Deployments of all namespaces and nodes may be listed, and so KServe's version and GPUs be found.
        poll_s: between two questions.
    """

    def __init__(self, cluster: Cluster, *, clusterwide: bool = True, poll_s: float = POLL_S) -> None:
        self._cluster, self._clusterwide, self._poll_s = cluster, clusterwide, poll_s
        self._etag = ""
        self._polls = 0
        self._current = Capabilities()

    def current(self) -> Capabilities:
        """As of the last answer; before the first one nothing is said to be missing."""
        return self._current

    async def run(self, on_change: Callable[[], None]) -> None:
        """Until cancelled; calls `on_change` after each change."""
        failing = False
        while True:
            try:
                if await self.look():
                    on_change()
                failing = False
            except ApiError as error:
                if not failing:
                    log.warning("discovery failed", extra={"reason": error.reason, "error": error.message})
                failing = True
            await asyncio.sleep(self._poll_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret

    async def look(self) -> bool:
        """Ask once; whether something has changed.

        Raises:
            ApiError: there was no answer; what was known stays.
        """
        groups, etag = await self._cluster.discovery(self._etag)
        self._polls += 1
        if groups is None and self._polls % POLLS_PER_LOOK:
            return False
        features = self._current.features if groups is None else served(groups)
        version = await self._kserve_version() if features and KSERVE.name in features else None
        offered = await self._extended_resources()
        self._etag = etag
        found = Capabilities(mode_word(version), version, features, offered)
        if found == self._current:
            return False
        self._current = found
        log.info(
            "the cluster's capabilities have changed",
            extra={
                "kserve": found.kserve_version,
                "mode": found.deployment_mode,
                "features": sorted(features or ()),
                "extended_resources": sorted(offered or ()),
            },
        )
        return True

    async def _kserve_version(self) -> str | None:
        """From its controller's image; None where that may not be read, or has no tag that is a version."""
        if not self._clusterwide:
            return None
        try:
            answer = await self._cluster.list(DEPLOYMENT, None, KSERVE_CONTROLLER)
        except ApiError as error:
            if error.code == 403:
                return None
            raise
        return next(_versions(answer.get("items", [])), None)

    async def _extended_resources(self) -> frozenset[str] | None:
        """What nodes have to give beside CPU, memory and disk; None where they may not be listed."""
        if not self._clusterwide:
            return None
        found: set[str] = set()
        page = ""
        while True:
            try:
                answer = await self._cluster.list_page(NODE, NODES_AT_ONCE, page)
            except ApiError as error:
                if error.code == 403:
                    return None
                raise
            for node in answer.get("items") or ():
                amounts = node.get("status", {}).get("allocatable", {})
                found.update(name for name, amount in amounts.items() if "/" in name and amount != "0")
            page = answer["metadata"].get("continue", "")
            if not page:
                return frozenset(found)


def served(groups: Body) -> frozenset[str]:
    """The names of those features whose resource is among an APIGroupDiscoveryList."""
    found = {
        (group["metadata"].get("name", ""), resource["resource"])
        for group in groups.get("items", [])
        for version in group.get("versions", [])
        for resource in version.get("resources", [])
    }
    return frozenset(each.name for each in FEATURES if (each.group, each.resource) in found)


def mode_word(kserve_version: str | None) -> str:
    """What the installed KServe calls plain Deployments; of one that is not known the newer word is assumed."""
    if kserve_version is None:
        return "Standard"
    major, minor = map(int, kserve_version.split("."))
    return "Standard" if (major, minor) >= STANDARD_SINCE else "RawDeployment"


def _versions(deployments: list[Body]) -> Iterator[str]:
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            image = container.get("image", "").split("@", 1)[0]
            if "kserve" in image and (tag := _TAG.search(image)):
                yield f"{tag[1]}.{tag[2]}"
