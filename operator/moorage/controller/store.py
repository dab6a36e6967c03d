"""What the controller has last seen of the cluster: ModelDeployments, their children and pods, by kind and key.

Filled by watches and by the answers to our own writes, read by `observe()`; nobody asks the API server twice for what a
watch has told already. A resourceVersion only moves forward here, so that a late watch event never hides our own write.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from moorage.controller.cluster import Body
from moorage.render import OWNER_LABEL

MAX_GONE = 10_000


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


def _version(body: Body) -> int:
    text = body["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0


class Store:
    """Objects by kind and key, and children by owner."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Body]] = {}
        self._owned: dict[Key, dict[tuple[str, Key], None]] = {}
        self.overruled: dict[tuple[str, Key], tuple[Body, Body]] = {}
        """What was applied, and what admission made of it: to ask for the former again would never end."""
        self._gone: OrderedDict[str, int] = OrderedDict()
        """By uid, the version at which an object was seen to go: an answer of ours that comes late must not revive it."""

    def put(self, kind: str, body: Body) -> bool:
        """Remember an object; False if a newer one is known already."""
        key, objects = key_of(body), self._objects.setdefault(kind, {})
        if _version(body) <= self._gone.get(body["metadata"]["uid"], -1):
            return False
        known = objects.get(key)
        if (
            known is not None
            and known["metadata"]["uid"] == body["metadata"]["uid"]
            and _version(known) >= _version(body)
        ):
            return False
        self._forget(kind, key)
        objects[key] = body
        if owner := owner_of(body):
            self._owned.setdefault(owner, {})[(kind, key)] = None
        return True

    def remove(self, kind: str, body: Body) -> None:
        """Forget an object that is gone; a successor of the same name stays."""
        self._gone[body["metadata"]["uid"]] = _version(body)
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
        self.overruled.pop((kind, key_of(body)), None)
        known = self._objects.get(kind, {}).get(key_of(body))
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            self._forget(kind, key_of(body))

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

    def replace(self, kind: str, bodies: list[Body]) -> list[Body]:
        """Take a fresh list for the truth; returns what was known and is gone."""
        listed = {key_of(body): body["metadata"]["uid"] for body in bodies}
        gone = [
            known for key, known in self._objects.get(kind, {}).items() if listed.get(key) != known["metadata"]["uid"]
        ]
        for known in gone:
            self.remove(kind, known)
        for body in bodies:
            self.put(kind, body)
        return gone

    def _forget(self, kind: str, key: Key) -> None:
        known = self._objects.get(kind, {}).pop(key, None)
        if known is not None and (owner := owner_of(known)):
            owned = self._owned.get(owner, {})
            owned.pop((kind, key), None)
            if not owned:
                self._owned.pop(owner, None)
