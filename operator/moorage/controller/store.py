"""What the controller has last seen of the cluster: ModelDeployments, their children and pods, by kind and key.

Filled by watches and by the answers to our own writes, read by `observe()`; nobody asks the API server twice for what a
watch has told already. A resourceVersion only moves forward here, so that a late watch event never hides our own write.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from moorage.api.conditions import ROUTES_READY
from moorage.controller.cluster import Body
from moorage.controller.contests import Contests
from moorage.render import OWNER_LABEL

MAX_GONE = 10_000
_WITH_URL, _OWNER = "InferenceService", "ModelDeployment"


class Key(NamedTuple):
    """A namespaced name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(body: Body) -> Key:
    """The key of any namespaced object."""
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def owner_of(body: Body) -> Key | None:
    """The key of the ModelDeployment that a child or pod belongs to, by its label."""
    owner = body["metadata"].get("labels", {}).get(OWNER_LABEL)
    return Key(body["metadata"]["namespace"], owner) if owner else None


def version_of(body: Body) -> int:
    """The resourceVersion, which counts up; 0 if there is none."""
    text = body["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0


def url_of(body: Body) -> str | None:
    """Where an InferenceService is reached, as KServe says, or a ModelDeployment, as its status does."""
    status = body.get("status", {})
    url: str | None = status.get("url") or status.get("address", {}).get("url")
    return url


def routed_since(body: Body) -> str:
    """Since when a ModelDeployment's status says that its URL is its own, as a time in ISO 8601; "" if it does not."""
    conditions = body.get("status", {}).get("conditions", [])
    routed = (item["lastTransitionTime"] for item in conditions if _says_routed(item))
    return next(routed, "")


def _says_routed(condition: Body) -> bool:
    return bool(condition["type"] == ROUTES_READY and condition["status"] == "True")


class Store:
    """Objects by kind and key, children by owner, and who has a URL.

    Args:
        claims_changed: told of each ModelDeployment whose URL another one has taken, left, or speaks otherwise of.
    """

    def __init__(self, claims_changed: Callable[[Key], None] = lambda key: None) -> None:
        self._claims_changed = claims_changed
        self._objects: dict[str, dict[Key, Body]] = {}
        self._owned: dict[Key, dict[tuple[str, Key], None]] = {}
        self._urls: dict[str, dict[Key, Body]] = {}
        self.overruled: dict[tuple[str, Key], tuple[Body, Body]] = {}
        """What was applied, and what admission made of it: to ask for the former again would never end."""
        self._unfinished: dict[Key | None, dict[tuple[str, Key], int]] = {}
        """By owner and child, how many times in a row the API server has given up on a write of ours."""
        self.contests = Contests()
        self._gone: OrderedDict[str, int] = OrderedDict()
        """By uid, the version at which an object was seen to go: an answer of ours that comes late must not revive it."""

    def put(self, kind: str, body: Body) -> bool:
        """Remember an object; False if a newer one is known already."""
        key, objects = key_of(body), self._objects.setdefault(kind, {})
        if version_of(body) <= self._gone.get(body["metadata"]["uid"], -1):
            return False
        known = objects.get(key)
        if (
            known is not None
            and known["metadata"]["uid"] == body["metadata"]["uid"]
            and version_of(known) >= version_of(body)
        ):
            return False
        self.forget(kind, key)
        objects[key] = body
        before, after = _claim(kind, known), _claim(kind, body)
        if owner := owner_of(body):
            self._owned.setdefault(owner, {})[(kind, key)] = None
        if kind == _WITH_URL and after:
            self._urls.setdefault(after[0], {})[key] = body
        if before != after:
            self._tell(key, before, after)
        return True

    def remove(self, kind: str, body: Body, at: int | None = None) -> None:
        """Forget an object that is gone, since the version `at` or its own last one; a successor of the same name stays."""
        self._gone[body["metadata"]["uid"]] = version_of(body) if at is None else at
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
        self.overruled.pop((kind, key_of(body)), None)
        if kind == _OWNER:
            self.all_settled(key_of(body))
        known = self._objects.get(kind, {}).get(key_of(body))
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            self.forget(kind, key_of(body))
            self._tell(key_of(body), _claim(kind, known))

    def gave_up(self, manifest: Body) -> int:
        """The API server has given up on a write of ours. Returns how many times in a row by now."""
        counted = self._unfinished.setdefault(owner_of(manifest), {})
        entry = manifest["kind"], key_of(manifest)
        counted[entry] = counted.get(entry, 0) + 1
        return counted[entry]

    def settled(self, manifest: Body) -> None:
        """A child is as we want it, or its write was refused: that row is over."""
        self._unfinished.get(owner_of(manifest), {}).pop((manifest["kind"], key_of(manifest)), None)

    def all_settled(self, owner: Key | None) -> None:
        """All children are as we want them, or their owner is gone: nothing is wanted of those that never came to be."""
        self._unfinished.pop(owner, None)

    def count(self) -> dict[str, int]:
        """How many objects are known, by kind."""
        return {kind: len(objects) for kind, objects in self._objects.items()}

    def get(self, kind: str, key: Key) -> Body | None:
        """The object, or None."""
        return self._objects.get(kind, {}).get(key)

    def keys(self, kind: str) -> list[Key]:
        """All keys of a kind."""
        return list(self._objects.get(kind, ()))

    def owned(self, owner: Key, kind: str) -> Iterator[Body]:
        """The children of one kind of one ModelDeployment."""
        for child_kind, key in list(self._owned.get(owner, ())):
            if child_kind == kind:
                yield self._objects[kind][key]

    def at(self, url: str) -> list[Body]:
        """The InferenceServices that have this URL and are not being deleted."""
        return list(self._urls.get(url, {}).values())

    def replace(self, kind: str, bodies: list[Body], listed_at: int, namespace: str | None = None) -> list[Body]:
        """Take a list, of one namespace or (None) of all; returns what was known and is gone.

        It may be old: one API server of several can lag behind. What is known from later than `listed_at`, the list's
        resourceVersion, is therefore not gone because the list lacks it; the watch that begins there will tell.
        """
        listed = {key_of(body): body["metadata"]["uid"] for body in bodies}
        gone = [
            known
            for key, known in self._objects.get(kind, {}).items()
            if namespace in (None, key.namespace)
            and listed.get(key) != known["metadata"]["uid"]
            and version_of(known) <= listed_at
        ]
        for known in gone:
            self.remove(kind, known, listed_at)
        for body in bodies:
            held = self.get(kind, key_of(body))
            if held is None or version_of(held) <= listed_at:
                self.put(kind, body)
        return gone

    def forget(self, kind: str, key: Key) -> None:
        """Know nothing of it any more, not even that it is gone."""
        known = self._objects.get(kind, {}).pop(key, None)
        if known is not None and kind == _WITH_URL and (url := url_of(known)):
            there = self._urls.get(url, {})
            there.pop(key, None)
            if not there:
                self._urls.pop(url, None)
        if known is not None and (owner := owner_of(known)):
            owned = self._owned.get(owner, {})
            owned.pop((kind, key), None)
            if not owned:
                self._owned.pop(owner, None)

    def _tell(self, key: Key, *claims: tuple[str, str] | None) -> None:
        for url in {claim[0] for claim in claims if claim}:
            for other in self._urls.get(url, ()):
                if other != key:
                    self._claims_changed(other)


def _claim(kind: str, body: Body | None) -> tuple[str, str] | None:
    """What an object says of a URL: which, and (a ModelDeployment) since when it is its own."""
    if body is None or kind not in (_WITH_URL, _OWNER) or (url := url_of(body)) is None:
        return None
    if kind == _OWNER:
        return url, routed_since(body)
    return None if "deletionTimestamp" in body["metadata"] else (url, "")
