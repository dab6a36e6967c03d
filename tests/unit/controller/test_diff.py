from copy import deepcopy
from typing import Any

from moorage.controller.cluster import FIELD_MANAGER
from moorage.controller.diff import drift, owns

DESIRED: dict[str, Any] = {
    "metadata": {"name": "a", "labels": {"ours": "1"}, "ownerReferences": [{"uid": "u-1", "name": "cats"}]},
    "spec": {
        "ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}],
        "containers": [{"name": "main", "args": ["--x=1"], "env": [{"name": "A", "value": "1"}]}],
    },
}
OWNED: dict[str, Any] = {
    "f:metadata": {
        "f:labels": {"f:ours": {}},
        "f:ownerReferences": {'k:{"uid":"u-1"}': {".": {}, "f:name": {}}},
    },
    "f:spec": {
        "f:containers": {
            'k:{"name":"main"}': {
                ".": {},
                "f:name": {},
                "f:args": {},
                "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
            }
        },
        "f:ports": {},
    },
}


def live(owned: dict[str, Any] | None = None) -> dict[str, Any]:
    """DESIRED as the API server has it after our apply."""
    body = deepcopy(DESIRED)
    entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": deepcopy(OWNED if owned is None else owned)}
    others = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:foreign": {}}}}}
    body["metadata"] |= {"managedFields": [others, entry], "uid": "x", "resourceVersion": "7"}
    return body


def test_an_object_as_we_applied_it_needs_nothing() -> None:
    assert drift(DESIRED, live()) is None


def test_what_the_server_and_others_add_is_theirs() -> None:
    body = live()
    body["status"] = {"ready": True}
    body["metadata"]["labels"]["foreign"] = "x"
    body["metadata"]["ownerReferences"].append({"uid": "u-2"})
    body["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    body["spec"]["containers"][0]["env"].append({"name": "FOREIGN", "value": "x"})
    body["spec"]["containers"].append({"name": "sidecar"})
    body["spec"]["ports"][0]["protocol"] = "TCP"
    assert drift(DESIRED, body) is None


def test_a_value_changed_by_hand_is_named_by_its_path() -> None:
    body = live()
    body["spec"]["containers"][0]["env"][0]["value"] = "2"
    assert drift(DESIRED, body) == ".spec.containers[main].env[A].value"


def test_a_field_removed_by_hand_is_named() -> None:
    body = live()
    del body["metadata"]["labels"]["ours"]
    assert drift(DESIRED, body) == ".metadata.labels.ours"


def test_an_item_removed_by_hand_is_named() -> None:
    body = live()
    body["spec"]["containers"] = []
    assert drift(DESIRED, body) == ".spec.containers[main]"


def test_items_are_compared_by_their_key_and_not_by_their_place() -> None:
    body = live()
    body["spec"]["containers"].insert(0, {"name": "sidecar"})
    assert drift(DESIRED, body) is None


def test_a_list_of_words_is_compared_as_a_whole() -> None:
    body = live()
    body["spec"]["containers"][0]["args"] = ["--x=1", "--y=2"]
    assert drift(DESIRED, body) == ".spec.containers[main].args"


def test_another_type_is_a_difference() -> None:
    for value in ("text", None, {}):
        body = live()
        body["spec"]["containers"] = value
        assert drift(DESIRED, body) == ".spec.containers"


def test_a_field_that_we_no_longer_render_is_noticed_through_its_owner() -> None:
    desired = deepcopy(DESIRED)
    del desired["metadata"]["labels"]["ours"]
    assert drift(desired, live()) == ".metadata.labels.ours"


def test_an_item_that_we_no_longer_render_is_noticed_through_its_owner() -> None:
    desired = deepcopy(DESIRED)
    desired["spec"]["containers"][0]["env"] = [{"name": "B", "value": "2"}]
    body = live()
    body["spec"]["containers"][0]["env"].append({"name": "B", "value": "2"})
    assert drift(desired, body) == '.spec.containers[{"name":"main"}].env[{"name":"A"}]'


def test_a_member_of_a_set_that_we_no_longer_render_is_noticed() -> None:
    desired, body = {"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["a", "b"]}}
    fields = {"f:metadata": {"f:finalizers": {'v:"a"': {}, 'v:"b"': {}}}}
    body["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}]
    assert drift(desired, body) is not None


def test_a_port_without_a_protocol_is_the_one_with_tcp() -> None:
    desired = {"metadata": {}, "ports": [{"port": 80}]}
    body = {"metadata": {}, "ports": [{"port": 80, "protocol": "TCP"}]}
    fields = {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}
    body["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}]
    assert drift(desired, body) is None


def test_an_object_that_was_not_made_by_an_apply_of_ours_is_applied() -> None:
    body = live()
    body["metadata"]["managedFields"].pop()
    assert drift(DESIRED, body) == "metadata.managedFields"


def test_an_item_left_in_a_list_that_is_owned_as_a_whole_is_noticed() -> None:
    """KServe's CRDs have such lists: imagePullSecrets, and a runtime's containers with all that is in them."""
    secrets = {"metadata": {}, "spec": {"imagePullSecrets": [{"name": "a"}]}}
    body: dict[str, Any] = {"metadata": {}, "spec": {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}}
    fields = {"f:spec": {"f:imagePullSecrets": {}}}
    body["metadata"]["managedFields"] = [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}]
    assert drift(secrets, body) is not None


def test_a_variable_left_in_a_container_that_is_owned_as_a_whole_is_noticed() -> None:
    owned = {**OWNED, "f:spec": {"f:containers": {}, "f:ports": {}}}
    body = live(owned)
    assert drift(DESIRED, live(owned)) is None
    body["spec"]["containers"][0]["env"].append({"name": "FORMER", "value": "x"})
    assert drift(DESIRED, body) is not None


def test_who_has_a_field_that_differs_is_found_by_its_path() -> None:
    body = live()
    body["spec"]["containers"][0]["env"][0]["value"] = "2"
    body["spec"]["ports"][1]["port"] = 54
    path = drift({**DESIRED, "spec": {"containers": DESIRED["spec"]["containers"]}}, body)
    assert path == ".spec.containers[main].env[A].value"
    variable = {"f:env": {'k:{"name":"A"}': {".": {}, "f:value": {}}}}
    assert owns({"f:spec": {"f:containers": {'k:{"name":"main"}': variable}}}, body, path)
    assert not owns({"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:args": {}}}}}, body, path)
    assert not owns({"f:spec": {"f:containers": {'k:{"name":"gone"}': variable}}}, body, path)
    assert not owns({"f:spec": {"f:ports": {}}}, body, path)

    ports = drift({**DESIRED, "spec": {"ports": DESIRED["spec"]["ports"]}}, body)
    assert ports == ".spec.ports[1].port"
    assert owns({"f:spec": {"f:ports": {'k:{"port":54,"protocol":"UDP"}': {".": {}, "f:port": {}}}}}, body, ports)
    assert not owns({"f:spec": {"f:ports": {'k:{"port":53,"protocol":"TCP"}': {".": {}, "f:port": {}}}}}, body, ports)


def test_who_has_a_list_as_a_whole_has_all_that_is_in_it_and_who_has_a_part_of_it_has_a_part() -> None:
    body = live()
    assert owns({"f:spec": {"f:containers": {}}}, body, ".spec.containers[main].args")
    assert owns({"f:spec": {"f:containers": {'k:{"name":"main"}': {"f:args": {}}}}}, body, ".spec.containers")
    body["metadata"]["finalizers"] = ["a", "b"]
    finalizers = {"f:metadata": {"f:finalizers": {'v:"b"': {}}}}
    assert owns(finalizers, body, ".metadata.finalizers")
    assert owns(finalizers, body, ".metadata.finalizers[1]")
    assert not owns(finalizers, body, ".metadata.finalizers[0]")


def test_a_label_or_field_whose_name_begins_with_anothers_is_another() -> None:
    body = live()
    assert not owns({"f:spec": {"f:ports": {}}}, body, ".spec.portsOfCall")
    body["metadata"]["labels"] = {"app": "x", "app.kubernetes.io/name": "theirs"}
    fields = {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}
    assert not owns(fields, body, ".metadata.labels.app.kubernetes.io/name")
    fields["f:metadata"]["f:labels"]["f:app.kubernetes.io/name"] = {}
    assert owns(fields, body, ".metadata.labels.app.kubernetes.io/name")
    assert not owns(fields, body, "metadata.managedFields"), "whoever has emptied it, it does not say"
