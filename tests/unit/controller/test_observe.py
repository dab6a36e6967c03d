from typing import Any

from moorage.controller.observe import observe
from moorage.controller.store import Key, Store
from moorage.render import OWNER_LABEL

OLD, YOUNG = Key("c", "a-b"), Key("b-c", "a")
"""KServe's host is `NAME-NAMESPACE`: both have the same."""
URL = "http://a-b-c.example.com"
AGE = {OLD: "2026-01-01T00:00:00Z", YOUNG: "2026-01-02T00:00:00Z"}


class World:
    """A store, and whom it has told."""

    def __init__(self) -> None:
        self.told: list[Key] = []
        self.store, self.version = Store(self.told.append), 0

    def metadata(self, key: Key, **more: Any) -> dict[str, Any]:
        self.version += 1
        made = {"namespace": key.namespace, "name": key.name, "uid": str(key), "resourceVersion": str(self.version)}
        return {**made, "labels": {OWNER_LABEL: key.name}, "creationTimestamp": AGE[key], **more}

    def serves(self, key: Key, url: str | None = URL, **more: Any) -> dict[str, Any]:
        """KServe says of its InferenceService that it has a URL."""
        service = {"metadata": self.metadata(key, **more), "status": {"url": url} if url else {}}
        self.store.put("InferenceService", service)
        return service

    def says(self, key: Key, since: str = "", url: str = URL) -> dict[str, Any]:
        """Its status says since when the URL is its own."""
        routes = {"type": "RoutesReady", "status": "True" if since else "False", "lastTransitionTime": since}
        owner = {"metadata": self.metadata(key), "status": {"url": url, "conditions": [routes]}}
        self.store.put("ModelDeployment", owner)
        return owner

    def rivals(self) -> tuple[Key | None, Key | None]:
        """Of the old one, and of the young one."""
        return observe(self.store, OLD).rival, observe(self.store, YOUNG).rival


def test_who_is_alone_has_no_rival() -> None:
    world = World()
    world.serves(OLD)
    world.serves(YOUNG, url="http://elsewhere.example.com")
    assert world.rivals() == (None, None)


def test_where_nobody_was_first_it_is_the_oldest() -> None:
    world = World()
    for key in (YOUNG, OLD):
        world.says(key)
        world.serves(key)
    assert world.rivals() == (None, OLD)


def test_who_has_a_url_keeps_it_when_an_older_one_gets_up_later() -> None:
    world = World()
    world.says(OLD)
    world.serves(YOUNG)
    world.says(YOUNG, since="2026-01-03T00:00:00Z")
    world.serves(OLD)
    assert world.rivals() == (YOUNG, None)


def test_of_two_who_say_so_it_is_the_one_that_has_said_it_longer() -> None:
    world = World()
    for key, day in ((OLD, 5), (YOUNG, 4)):
        world.serves(key)
        world.says(key, since=f"2026-01-0{day}T00:00:00Z")
    assert world.rivals() == (YOUNG, None)


def test_a_url_that_was_anothers_word_for_elsewhere_counts_for_nothing() -> None:
    world = World()
    for key in (OLD, YOUNG):
        world.serves(key)
        world.says(key)
    world.says(YOUNG, since="2026-01-03T00:00:00Z", url="http://elsewhere.example.com")
    assert world.rivals() == (None, OLD)


def test_at_a_start_nobody_takes_the_url_of_one_that_is_not_known_yet() -> None:
    world = World()
    world.serves(OLD)
    world.serves(YOUNG)
    world.says(OLD)
    assert world.rivals() == (YOUNG, None)
    world.says(YOUNG, since="2026-01-03T00:00:00Z")
    assert world.rivals() == (YOUNG, None)


def test_one_that_is_being_deleted_has_no_url_any_more() -> None:
    world = World()
    world.serves(OLD)
    world.serves(YOUNG)
    world.serves(OLD, deletionTimestamp="2026-01-04T00:00:00Z")
    assert world.rivals()[1] is None


def test_the_others_at_a_url_are_told_of_whatever_changes_there() -> None:
    world = World()
    world.serves(YOUNG)
    world.says(YOUNG)
    world.says(OLD)
    assert world.told == [YOUNG], "of what the other's status says"
    world.told.clear()
    world.serves(OLD)
    assert world.told == [YOUNG], "of one that comes"
    world.serves(OLD)
    world.says(OLD)
    assert world.told == [YOUNG], "not of what has not changed"
    world.says(OLD, since="2026-01-03T00:00:00Z")
    assert world.told == [YOUNG] * 2
    gone = world.serves(OLD)
    world.store.forget("InferenceService", OLD)
    assert world.told == [YOUNG] * 2, "what is only not known any more is still there"
    world.store.put("InferenceService", gone)
    world.told.clear()
    world.store.remove("InferenceService", gone)
    assert world.told == [YOUNG], "of one that goes"
    world.told.clear()
    world.serves(OLD)
    world.serves(OLD, url=None)
    assert world.told == [YOUNG] * 2
