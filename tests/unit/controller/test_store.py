from typing import Any

from moorage.controller.store import Key, Store, key_of, owner_of
from moorage.render import OWNER_LABEL

CATS = Key("demo", "cats")


def pod(name: str = "cats-1", *, version: int = 1, uid: str = "p-1", owner: str | None = "cats", **more: Any) -> Any:
    labels = {OWNER_LABEL: owner} if owner else {}
    return {
        "metadata": {"namespace": "demo", "name": name, "uid": uid, "resourceVersion": str(version), "labels": labels},
        **more,
    }


def test_the_newest_wins_whatever_the_order() -> None:
    store = Store()
    assert store.put("Pod", pod(version=10))
    assert not store.put("Pod", pod(version=9))
    assert not store.put("Pod", pod(version=10))
    assert store.get("Pod", Key("demo", "cats-1")) == pod(version=10)
    assert store.put("Pod", pod(version=100))  # as a number, not as text


def test_a_successor_of_the_same_name_wins_with_any_version() -> None:
    store = Store()
    store.put("Pod", pod(version=10))
    assert store.put("Pod", pod(version=3, uid="p-2"))
    store.remove("Pod", pod(version=11))  # the late news of the first one's end
    assert store.get("Pod", Key("demo", "cats-1")) == pod(version=3, uid="p-2")


def test_what_is_removed_is_gone_from_its_owner_too() -> None:
    store = Store()
    store.put("Pod", pod())
    store.remove("Pod", pod())
    store.remove("Pod", pod())
    assert store.get("Pod", Key("demo", "cats-1")) is None
    assert list(store.owned(CATS, "Pod")) == []


def test_children_are_found_by_owner_and_kind() -> None:
    store = Store()
    store.put("Pod", pod("a"))
    store.put("Pod", pod("b", owner="dogs"))
    store.put("Pod", pod("c", owner=None))
    store.put("ServiceAccount", pod("a"))
    assert [body["metadata"]["name"] for body in store.owned(CATS, "Pod")] == ["a"]
    assert store.keys("Pod") == [Key("demo", "a"), Key("demo", "b"), Key("demo", "c")]
    assert store.keys("Secret") == []


def test_a_child_that_changes_its_owner_moves() -> None:
    store = Store()
    store.put("Pod", pod(version=1))
    store.put("Pod", pod(version=2, owner="dogs"))
    assert list(store.owned(CATS, "Pod")) == []
    assert len(list(store.owned(Key("demo", "dogs"), "Pod"))) == 1


def test_who_has_a_url_is_known_as_long_as_they_have_it() -> None:
    store, url = Store(), "http://cats-demo.example.com"
    store.put("InferenceService", pod("cats", uid="i-1", version=1, status={"url": url}))
    store.put("InferenceService", pod("dogs", uid="i-2", version=1, status={"url": url}))
    store.put("Pod", pod("birds", uid="i-3", status={"url": url}))
    assert [key_of(body).name for body in store.at(url)] == ["cats", "dogs"]
    store.put("InferenceService", pod("cats", uid="i-1", version=2, status={"url": "http://elsewhere"}))
    store.remove("InferenceService", pod("dogs", uid="i-2", version=1))
    assert (store.at(url), len(store.at("http://elsewhere"))) == ([], 1)


def test_owners_of_another_namespace_are_others() -> None:
    store = Store()
    store.put("Pod", pod())
    assert list(store.owned(Key("prod", "cats"), "Pod")) == []


def test_a_fresh_list_tells_what_is_gone_and_what_was_replaced() -> None:
    store = Store()
    for body in (pod("stays", uid="1"), pod("goes", uid="2"), pod("replaced", uid="3")):
        store.put("Pod", body)
    listed = [pod("stays", uid="1", version=2), pod("replaced", uid="4"), pod("new", uid="5")]
    gone = store.replace("Pod", listed, 9)
    assert [body["metadata"]["uid"] for body in gone] == ["2", "3"]
    found = {body["metadata"]["uid"] for body in store.owned(CATS, "Pod")}
    assert found == {"1", "4", "5"}


def test_the_store_can_change_while_children_are_read() -> None:
    store = Store()
    store.put("Pod", pod("a"))
    store.put("Pod", pod("b"))
    for body in store.owned(CATS, "Pod"):
        store.put("Pod", pod("c", uid="9"))
        assert body


def test_keys_and_owners_are_read_from_the_metadata() -> None:
    assert key_of(pod("a")) == Key("demo", "a")
    assert str(key_of(pod("a"))) == "demo/a"
    assert owner_of(pod("a")) == CATS
    assert owner_of({"metadata": {"namespace": "demo", "name": "a"}}) is None


def test_an_answer_that_comes_after_the_deletion_revives_nothing() -> None:
    store = Store()
    store.put("Pod", pod(version=5))
    store.remove("Pod", pod(version=7))
    assert not store.put("Pod", pod(version=6))
    assert store.get("Pod", Key("demo", "cats-1")) is None
    assert store.put("Pod", pod(version=8)), "it had only lost its label"


def test_a_list_that_is_older_than_what_is_known_hides_nothing_that_lives() -> None:
    store = Store()
    store.put("Pod", pod(version=100))
    assert store.replace("Pod", [], 90) == []
    assert store.get("Pod", Key("demo", "cats-1")) == pod(version=100)
    assert store.put("Pod", pod(version=101))


def test_an_old_list_does_not_take_the_place_of_a_newer_successor() -> None:
    store = Store()
    store.put("Pod", pod(version=100, uid="p-2"))
    store.replace("Pod", [pod(version=80, uid="p-1")], 90)
    found = store.get("Pod", Key("demo", "cats-1"))
    assert found is not None
    assert found["metadata"]["uid"] == "p-2"


def test_what_a_list_has_shown_to_be_gone_is_revived_by_nothing_older_than_the_list() -> None:
    store = Store()
    store.put("Pod", pod(version=10))
    store.replace("Pod", [], 20)
    assert not store.put("Pod", pod(version=15)), "a late answer to a write of ours"
    assert store.put("Pod", pod(version=21)), "it had only lost its label"
