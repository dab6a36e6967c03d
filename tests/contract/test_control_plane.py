"""The plane itself is what the other tests take it for: a real API server, locked down, with real controllers."""

import time
from pathlib import Path

import psutil
import pytest
from tests.control_plane import kserve_crds
from tests.control_plane.client import Api, ApiError, documents, eventually
from tests.control_plane.plane import Cluster, ControlPlane

GC_LIMIT_S = 20.0  # the controller-manager looks for new kinds every 30 s; a kind it knew from the start needs no look
LOOPBACK = {"127.0.0.1", "::1"}


@pytest.fixture
def own_plane(control_plane: Cluster) -> ControlPlane:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("the cluster was lent by MOORAGE_TEST_KUBECONFIG; its processes are not ours to look at")
    return control_plane


def config_map(namespace: str, name: str, **metadata: object) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": {"answer": "42"},
    }


def inference_service(namespace: str, name: str, **predictor: object) -> dict:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "moorage"}}, **predictor}},
    }


def account(api: Api, control_plane: Cluster, namespace: str, name: str) -> Api:
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
    return Api(control_plane.kubeconfig_for_service_account(namespace, name))


def test_a_bare_service_account_is_refused(api: Api, control_plane: Cluster, namespace: str) -> None:
    bare = account(api, control_plane, namespace, "bare")
    whoami = bare.request(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    )
    assert whoami["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:bare"
    with pytest.raises(ApiError, match="cannot list resource") as refusal:
        bare.list("ConfigMap", namespace)
    assert refusal.value.status == 403


def test_a_request_without_credentials_is_refused(own_plane: ControlPlane, tmp_path: Path) -> None:
    from tests.control_plane import pki

    anonymous = Api(pki.write_kubeconfig(tmp_path / "anonymous", own_plane.url, own_plane.ca, {}))
    with pytest.raises(ApiError) as refusal:
        anonymous.request("GET", "/api/v1/namespaces")
    assert refusal.value.status == 403


def test_the_child_of_a_just_made_custom_resource_is_collected_soon_after_it(api: Api, namespace: str) -> None:
    owner = api.create(inference_service(namespace, "owner"))
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": "owner",
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    api.create(config_map(namespace, "child", ownerReferences=[reference]))
    started = time.perf_counter()
    api.delete("InferenceService", namespace, "owner")
    eventually(lambda: api.get("ConfigMap", namespace, "child") is None, timeout_s=GC_LIMIT_S, interval_s=0.05)
    print(f"\ngarbage collection of a custom resource's child: {time.perf_counter() - started:.2f} s")


def test_the_audit_log_counts_writes_by_user(own_plane: ControlPlane, api: Api, namespace: str) -> None:
    writer = account(api, own_plane, namespace, "writer")
    user = f"system:serviceaccount:{namespace}:writer"
    mark = own_plane.audit.mark()
    with pytest.raises(ApiError):
        writer.create(config_map(namespace, "refused"))
    api.create(config_map(namespace, "written"))
    api.patch("ConfigMap", namespace, "written", {"data": {"answer": "43"}})
    api.get("ConfigMap", namespace, "written")
    assert [(each.verb, each.code) for each in own_plane.audit.writes(mark, user)] == [("create", 403)]
    mine = own_plane.audit.writes(mark, "moorage-tests-admin", namespace)
    assert [(each.verb, each.resource, each.name) for each in mine] == [
        ("create", "configmaps", "written"),
        ("patch", "configmaps", "written"),
    ]


def test_cel_rules_of_a_crd_are_evaluated(api: Api, namespace: str) -> None:
    api.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "ranges.tests.moorage.dev"},
            "spec": {
                "group": "tests.moorage.dev",
                "scope": "Namespaced",
                "names": {"kind": "Range", "plural": "ranges", "singular": "range", "listKind": "RangeList"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {
                                    "spec": {
                                        "type": "object",
                                        "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
                                        "x-kubernetes-validations": [
                                            {"rule": "self.low <= self.high", "message": "low must not exceed high"}
                                        ],
                                    }
                                },
                            }
                        },
                    }
                ],
            },
        }
    )
    wrong = {
        "apiVersion": "tests.moorage.dev/v1",
        "kind": "Range",
        "metadata": {"name": "wrong", "namespace": namespace},
        "spec": {"low": 2, "high": 1},
    }
    try:
        eventually(lambda: api.path("tests.moorage.dev/v1/Range"))
        refusal = eventually(lambda: _refusal(api, wrong, not_status=404))
        assert refusal.status == 422
        assert "low must not exceed high" in refusal.message
        api.create({**wrong, "spec": {"low": 1, "high": 2}})
    finally:
        api.delete("CustomResourceDefinition", None, "ranges.tests.moorage.dev")


def _refusal(api: Api, obj: dict, not_status: int) -> ApiError | None:
    try:
        api.create(obj)
    except ApiError as error:
        return None if error.status == not_status else error
    return None


def test_the_plane_listens_on_loopback_only(own_plane: ControlPlane) -> None:
    addresses = {
        connection.laddr.ip
        for connection in psutil.net_connections(kind="inet")
        if connection.pid in own_plane.pids and connection.status == psutil.CONN_LISTEN
    }
    assert addresses
    assert addresses <= LOOPBACK


def test_a_deployment_gets_its_pods_from_the_real_controllers(api: Api, namespace: str) -> None:
    labels = {"app": "two"}
    api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "two", "namespace": namespace},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "example.com/none"}]},
                },
            },
        }
    )
    eventually(lambda: len(api.list("Pod", namespace, "app=two")) == 2)


def test_kserves_crd_refuses_a_misspelt_field(api: Api, namespace: str) -> None:
    with pytest.raises(ApiError, match="minReplica"):
        api.apply(inference_service(namespace, "misspelt", minReplica=1), dry_run=True)
    api.apply(inference_service(namespace, "right", minReplicas=1), dry_run=True)


def test_generated_kserve_crds_are_served_and_check_names_and_types(api: Api, namespace: str, tmp_path: Path) -> None:
    """Under another group and other kinds, so that they stand beside the real ones, which stay untouched."""
    folder = kserve_crds.generate(tmp_path / "crds")
    group = "generated.tests.moorage.dev"
    names = []
    for definition in documents(folder):
        definition["metadata"]["name"] = f"{definition['spec']['names']['plural']}.{group}"
        definition["spec"]["group"] = group
        names_of = definition["spec"]["names"]
        names_of |= {"kind": f"Generated{names_of['kind']}", "listKind": f"Generated{names_of['listKind']}"}
        names_of.pop("shortNames", None)
        api.apply(definition)
        names.append(definition["metadata"]["name"])
    try:
        assert sorted(name.partition(".")[0] for name in names) == [
            "clusterservingruntimes",
            "inferenceservices",
            "servingruntimes",
        ]
        identity = {"apiVersion": f"{group}/v1beta1", "kind": "GeneratedInferenceService"}
        good = inference_service(namespace, "good", minReplicas=1, labels={"team": "sea"}, nodeSelector={"a": "b"})
        good |= identity
        good["spec"]["predictor"]["model"] |= {
            "runtime": "moorage",
            "storageUri": "s3://bucket/cats",
            "resources": {"requests": {"cpu": "100m"}},
            "env": [{"name": "A", "value": "b"}],
        }
        eventually(lambda: api.apply(good))
        api.patch_status(f"{group}/v1beta1/GeneratedInferenceService", namespace, "good", {"url": "http://good"})
        misspelt = inference_service(namespace, "bad", minReplica=1) | identity
        with pytest.raises(ApiError, match="minReplica"):
            api.apply(misspelt)
        mistyped = inference_service(namespace, "bad", minReplicas="one") | identity
        with pytest.raises(ApiError, match="minReplicas"):
            api.apply(mistyped)
    finally:
        for name in names:
            api.delete("CustomResourceDefinition", None, name)


def test_objects_survive_a_restart_of_the_api_server(own_plane: ControlPlane, api: Api, namespace: str) -> None:
    api.create(config_map(namespace, "stays"))
    before = own_plane.pids
    own_plane.restart_api_server()
    assert own_plane.pids != before
    assert api.get("ConfigMap", namespace, "stays")["data"] == {"answer": "42"}


def test_the_start_took_the_time_that_is_printed_here(own_plane: ControlPlane) -> None:
    print("\n" + ", ".join(f"{stage}: {seconds:.1f} s" for stage, seconds in own_plane.timings.items()))
    assert set(own_plane.timings) == {"etcd and API server", "CRDs", "controller-manager"}
