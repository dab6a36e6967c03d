import json
from typing import Any

import pytest
import yaml
from tests.builders import model_deployment

from moorage.api import PredictorSettings
from moorage.cli.yamltext import to_yaml
from moorage.render import (
    CHILD_KINDS,
    POD_HASH,
    Capabilities,
    Manifest,
    NetworkSettings,
    RenderSettings,
    child_name,
    local_settings,
    render,
)
from moorage.render.inference_service import inference_service

LONGEST = "c" * 48


def objects(settings: RenderSettings | None = None, **changes: Any) -> dict[str, Manifest]:
    return {manifest["kind"]: manifest for manifest in render(model_deployment(**changes), settings)}


def container(**changes: Any) -> Manifest:
    found: Manifest = objects(**changes)["ServingRuntime"]["spec"]["containers"][0]
    return found


def pod_hash(**changes: Any) -> str:
    return str(objects(**changes)["InferenceService"]["spec"]["predictor"]["annotations"][POD_HASH])


def text(**changes: Any) -> str:
    return to_yaml(render(model_deployment(**changes)))


def test_two_renders_give_the_same_bytes() -> None:
    changes: dict[str, Any] = {"scaling": {"replicas": 3}, "predictor": {"imagePullSecrets": ["b", "a"]}}
    assert json.dumps(render(model_deployment(**changes))) == json.dumps(render(model_deployment(**changes)))
    assert text(**changes) == text(**changes)


def test_the_inference_service_comes_last_because_kserve_needs_the_others_then() -> None:
    kinds = [manifest["kind"] for manifest in render(model_deployment(scaling={"replicas": 2}))]
    assert kinds == [kind for _, kind in CHILD_KINDS]


def test_every_object_is_of_a_kind_that_is_pruned() -> None:
    for manifest in render(model_deployment(scaling={"replicas": 2})):
        assert (manifest["apiVersion"], manifest["kind"]) in CHILD_KINDS


CONTAINER_CHANGES: dict[str, dict[str, Any]] = {
    "model name": {"model": {"name": "other"}},
    "version": {"model": {"version": "2"}},
    "architecture": {"model": {"architecture": "timm/resnet18"}},
    "checksum": {"model": {"sha256": "0" * 64}},
    "image": {"predictor": {"image": "registry.example.com/predictor:2"}},
    "resources": {"predictor": {"resources": {"requests": {"cpu": "2"}}}},
    "probe": {"health": {"readiness": {"periodSeconds": 7}}},
}
OTHER_CHANGES: dict[str, dict[str, Any]] = {
    "minReplicas": {"scaling": {"minReplicas": 2}},
    "replicas": {"scaling": {"replicas": 3}},
    "scaleTarget": {"scaling": {"scaleTarget": 50}},
    "labels": {"metadata": {"labels": {"team": "a"}}},
    "generation": {"metadata": {"generation": 9, "resourceVersion": "7", "annotations": {"a": "b"}}},
}


@pytest.mark.parametrize("change", CONTAINER_CHANGES.values(), ids=CONTAINER_CHANGES)
def test_a_change_of_the_container_replaces_the_pods(change: dict[str, Any]) -> None:
    assert container(**change) != container()
    assert pod_hash(**change) != pod_hash()


@pytest.mark.parametrize(
    "change", [{"model": {"storageUri": "s3://bucket/dogs/"}}, {"predictor": {"imagePullSecrets": ["registry"]}}]
)
def test_a_change_of_the_pod_around_the_container_replaces_the_pods_too(change: dict[str, Any]) -> None:
    assert container(**change) == container()
    assert pod_hash(**change) != pod_hash()


def test_other_credentials_replace_the_pods_because_kserve_reads_them_only_then() -> None:
    assert pod_hash(model={"storageSecret": "new"}) != pod_hash(model={"storageSecret": "old"})


@pytest.mark.parametrize("change", OTHER_CHANGES.values(), ids=OTHER_CHANGES)
def test_any_other_change_leaves_the_pods_alone(change: dict[str, Any]) -> None:
    assert container(**change) == container()
    assert pod_hash(**change) == pod_hash()


def test_a_change_of_scale_changes_nothing_that_kserve_copies_to_the_pods() -> None:
    before, after = (objects(scaling={"replicas": count})["InferenceService"] for count in (2, 3))
    assert before["metadata"] == after["metadata"]
    for service in (before, after):
        del service["spec"]["predictor"]["minReplicas"], service["spec"]["predictor"]["maxReplicas"]
    assert before == after


@pytest.mark.parametrize(
    "hostile", ["{{7*7}}", "{% raw %}", "${jndi:ldap://x}", "\n- x: 1", "!!python/object:os.x", "&a"]
)
def test_hostile_strings_of_the_metadata_reach_no_child(hostile: str) -> None:
    metadata = {"labels": {"team": hostile}, "annotations": {"note": hostile}}
    assert text(metadata=metadata) == text()


@pytest.mark.parametrize("word", ["yes", "No", "null", "1e3", "0x10", "0o17", "1.0", "2024-01-01", "1_000", "12.30.45"])
def test_words_that_yaml_would_take_for_something_else_stay_text(word: str) -> None:
    rendered = list(yaml.safe_load_all(text(model={"version": word, "name": word})))
    runtime = next(item for item in rendered if item["kind"] == "ServingRuntime")
    args = runtime["spec"]["containers"][0]["args"]
    assert {f"--model-name={word}", f"--model-version={word}"} <= set(args)
    assert rendered == render(model_deployment(model={"version": word, "name": word}))


def test_no_child_is_started_through_a_shell() -> None:
    assert container()["command"] == ["python", "-m", "moorage_predictor"]
    assert all(word.startswith("--") for word in container()["args"])


def test_rendered_arguments_are_what_the_predictor_reads() -> None:
    made = container(model={"architecture": "timm/resnet18", "version": "2"})
    env = {item["name"]: item["value"] for item in made["env"]}
    parsed = PredictorSettings.parse(made["args"], env)
    assert (parsed.model_name, parsed.model_version, parsed.architecture) == ("cats", "2", "timm/resnet18")
    assert (parsed.model_dir, parsed.storage_uri) == ("/mnt/models", None)
    assert parsed.termination_log == made["terminationMessagePath"]


def test_weights_inside_the_image_are_opened_by_the_predictor_itself() -> None:
    made = objects(model={"storageUri": "pkg://weights/cats.pth"})
    assert "--storage-uri=pkg://weights/cats.pth" in made["ServingRuntime"]["spec"]["containers"][0]["args"]
    assert "storageUri" not in made["InferenceService"]["spec"]["predictor"]["model"]


def test_the_pod_outlives_its_drain() -> None:
    made = objects()
    grace_s = made["InferenceService"]["spec"]["predictor"]["terminationGracePeriodSeconds"]
    sleep_s = made["ServingRuntime"]["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    settings = PredictorSettings.parse(container()["args"], {})
    assert settings.drain_delay_s > 0
    assert grace_s > sleep_s + settings.drain_delay_s + settings.shutdown_grace_s


def test_no_name_or_label_is_cut_for_the_longest_name() -> None:
    for manifest in render(model_deployment(name=LONGEST, scaling={"replicas": 2})):
        assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())
    assert len(f"isvc.{child_name(model_deployment(name=LONGEST))}") == 63  # KServe's own label `app`


def test_no_two_deployments_of_a_namespace_render_one_object() -> None:
    names = ["cats", "cats-predictor", "cats-predictor-predictor", "predictor", "a", LONGEST]
    made = [
        (manifest["kind"], manifest["metadata"]["name"])
        for name in names
        for manifest in render(model_deployment(name=name, scaling={"replicas": 2}))
    ]
    assert len(made) == len(set(made))


def test_every_child_belongs_to_its_deployment() -> None:
    for manifest in render(model_deployment(metadata={"uid": "u-1"}, scaling={"replicas": 2})):
        assert manifest["metadata"]["namespace"] == "demo"
        assert manifest["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "moorage.dev/v1alpha1",
                "kind": "ModelDeployment",
                "name": "cats",
                "uid": "u-1",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]


def test_children_of_a_file_have_no_owner() -> None:
    assert all("ownerReferences" not in manifest["metadata"] for manifest in render(model_deployment()))


def test_a_single_copy_has_no_disruption_budget_that_would_block_a_node() -> None:
    assert "PodDisruptionBudget" not in objects(scaling={"minReplicas": 1, "maxReplicas": 9})
    budget = objects(scaling={"minReplicas": 2})["PodDisruptionBudget"]
    assert budget["spec"]["maxUnavailable"] == 1


def test_no_token_of_the_api_server_is_mounted() -> None:
    made = objects()
    assert made["ServiceAccount"]["automountServiceAccountToken"] is False
    assert made["InferenceService"]["spec"]["predictor"]["automountServiceAccountToken"] is False


def test_the_store_s_credentials_hang_on_the_service_account() -> None:
    assert objects(model={"storageSecret": "keys"})["ServiceAccount"]["secrets"] == [{"name": "keys"}]
    assert "secrets" not in objects()["ServiceAccount"]


@pytest.mark.parametrize(
    ("uri", "stores"),
    [
        ("s3://bucket/x", 1),
        ("gs://bucket/x", 1),
        ("https://host/x", 1),
        ("hf://org/x", 1),
        ("pvc://claim/x", 0),
        ("oci://image", 0),
        ("pkg://package/x", 0),
    ],
)
def test_a_pod_may_reach_a_store_only_if_its_model_comes_from_one(uri: str, stores: int) -> None:
    dns, *rest = objects(model={"storageUri": uri})["NetworkPolicy"]["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert len(rest) == stores
    for rule in rest:
        assert rule["ports"] == [{"protocol": "TCP", "port": 443}]


def test_the_metadata_service_of_a_cloud_is_cut_out_of_everywhere() -> None:
    blocks = [item["ipBlock"] for item in objects()["NetworkPolicy"]["spec"]["egress"][1]["to"]]
    assert blocks == [
        {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]},
        {"cidr": "::/0", "except": ["fd00:ec2::254/128"]},
    ]


def test_the_administrator_names_stores_nodes_and_namespaces() -> None:
    network = NetworkSettings(
        gateway_namespace="edge",
        prometheus_namespace="metrics",
        node_cidrs=("10.0.0.0/24",),
        storage_cidrs=("10.9.0.0/16",),
        storage_ports=(9000, 443),
    )
    spec = objects(RenderSettings(network=network))["NetworkPolicy"]["spec"]
    clients, prometheus, nodes = spec["ingress"]
    assert clients["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "edge"}
    assert prometheus["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "metrics"}
    assert nodes["from"] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
    assert spec["egress"][1] == {
        "to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}],
        "ports": [{"protocol": "TCP", "port": 9000}, {"protocol": "TCP", "port": 443}],
    }


@pytest.mark.parametrize(("port", "opened"), [("", [443]), (":443", [443]), (":9000", [9000]), (":25", [])])
def test_a_deployment_opens_no_port_to_its_issuer_that_the_administrator_has_not(port: str, opened: list[int]) -> None:
    jwt = {"issuer": "https://a.example/", "audience": "x", "jwksUri": f"https://a.example{port}/jwks.json"}
    settings = RenderSettings(network=NetworkSettings(storage_ports=(9000,)))
    made = objects(settings, model={"storageUri": "pvc://claim/x"}, access={"jwt": jwt})
    _, *issuer = made["NetworkPolicy"]["spec"]["egress"]
    assert [each["port"] for rule in issuer for each in rule["ports"]] == opened


def test_of_the_keys_secret_the_keys_alone_are_mounted() -> None:
    volumes = objects(access={"apiKeys": {"secret": "cat-keys"}})["ServingRuntime"]["spec"]["volumes"]
    [keys] = [volume["secret"] for volume in volumes if "secret" in volume]
    assert (keys["secretName"], keys["items"]) == ("cat-keys", [{"key": "keys.json", "path": "keys.json"}])


def test_network_policies_can_be_left_to_others() -> None:
    assert "NetworkPolicy" not in objects(RenderSettings(network=NetworkSettings(enabled=False)))


def test_the_deployments_image_wins_over_the_administrators() -> None:
    settings = RenderSettings(predictor_image="mirror/predictor:1")
    assert objects(settings)["ServingRuntime"]["spec"]["containers"][0]["image"] == "mirror/predictor:1"
    own = objects(settings, predictor={"image": "own:1"})
    assert own["ServingRuntime"]["spec"]["containers"][0]["image"] == "own:1"


def test_an_older_kserve_gets_its_own_word_for_plain_deployments() -> None:
    deployment = model_deployment()
    runtime = objects()["ServingRuntime"]
    service = inference_service(deployment, runtime, Capabilities(deployment_mode="RawDeployment"))
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"


def test_the_pod_is_restricted() -> None:
    made = objects()
    security = made["ServingRuntime"]["spec"]["containers"][0]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert made["InferenceService"]["spec"]["predictor"]["securityContext"]["runAsNonRoot"] is True


def test_a_laptop_gets_the_same_model_settings_and_its_own_surroundings() -> None:
    deployment = model_deployment(model={"storageUri": "pkg://weights/cats.pth", "architecture": "timm/resnet18"})
    local = local_settings(deployment, http_port=9000, exit_with_parent=True)
    assert (local.host, local.http_port, local.storage_uri) == ("127.0.0.1", 9000, "pkg://weights/cats.pth")
    assert (local.model_name, local.architecture, local.termination_log) == ("cats", "timm/resnet18", None)
