"""kill -9 after each single write to the API server, and edits in any order: the end is that of a run without either."""

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.deployments import apply, ready
from tests.control_plane.client import Api, ApiError, eventually
from tests.control_plane.fault_proxy import FaultProxy, Seen
from tests.control_plane.plane import Cluster, ControlPlane

from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]

KINDS = ("ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "ServingRuntime", "InferenceService")
EDITS: tuple[dict[str, Any], ...] = (
    {"scaling": {"minReplicas": 1, "maxReplicas": 3}},
    {"scaling": {"minReplicas": 2, "maxReplicas": 5}},
    {"scaling": {"replicas": 2}},
    {"predictor": {"image": "example.com/predictor:2"}},
    {"model": {"task": "image-classification", "storageUri": "s3://bucket/cats/", "storageSecret": "store"}},
    {"predictor": {"batching": {"maxBatchSize": 8}, "requestLog": "off"}, "health": {"liveness": {"periodSeconds": 7}}},
    {"access": {"apiKeys": {"secret": "keys"}}, "scaling": {"replicas": 3}},
    {"predictor": {"runtime": "torchserve"}},
)
NAMES = ("edited-a", "edited-b", "edited-c", "edited-d")
STEPS = ("edit", "edit", "edit", "edit", "refused", "deleted", "child deleted", "child edited")
SERVERS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace", "ownerReferences")


@pytest.fixture(scope="module")
def wire(control_plane: Cluster) -> Iterator[FaultProxy]:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("the proxy needs a certificate of the cluster's own authority")
    with FaultProxy(control_plane.url, control_plane.ca, *control_plane.server_certificate()) as proxy:
        yield proxy


def state(api: Api, namespace: str, name: str = "cats") -> Any:
    """Everything that was made for it, without what the server adds and with the name taken out."""
    found = []
    for kind in KINDS:
        for child in api.list(kind, namespace, labels=f"{OWNER_LABEL}={name}"):
            kept = {key: value for key, value in child.items() if key not in ("status", "metadata")}
            metadata = {key: value for key, value in child["metadata"].items() if key not in SERVERS}
            found.append(_renamed({**kept, "kind": kind, "metadata": metadata}, name))
    conditions = api.get("ModelDeployment", namespace, name)["status"]["conditions"]
    return found, [(each["type"], each["status"], each["reason"]) for each in conditions]


def _renamed(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(each, name) for key, each in value.items() if key != "moorage.dev/pod-hash"}
    if isinstance(value, list):
        return [_renamed(each, name) for each in value]
    return value.replace(name, "NAME") if isinstance(value, str) else value


@pytest.mark.timeout(600)  # a dozen processes, one after the other
def test_a_kill_after_any_write_ends_where_a_run_without_one_does(
    api: Api, namespace: str, wire: FaultProxy, control_plane: ControlPlane, controller: ControllerProcess
) -> None:
    apply(api, namespace, "whole", scaling={"minReplicas": 2, "maxReplicas": 3})
    eventually(lambda: ready(api, namespace, "whole"))
    expected = state(api, namespace, "whole")
    controller.stop()
    log = control_plane.run_dir / "killed.log"
    # Without a lease: the next one would wait for that of the killed one, and there is never a second one here.
    process = ControllerProcess(control_plane, log, ["--no-leader-elect"], url=wire.url)
    killed = 0
    try:
        process.start()
        for write in range(1, 40):
            name = f"cats-{write}"

            def of_this(seen: Seen, name: str = name) -> bool:
                return f"/{name}" in seen.path or seen.path.endswith("/events")

            wire.after_write(write, lambda: os.kill(process.pid, signal.SIGKILL), of_this)
            apply(api, namespace, name, scaling={"minReplicas": 2, "maxReplicas": 3})
            eventually(lambda name=name: not process.running or ready(api, namespace, name), timeout_s=60)
            if process.running:
                wire.heal()
                break
            killed += 1
            process.stop()
            process.start()
            eventually(lambda name=name: ready(api, namespace, name), timeout_s=60)
            assert state(api, namespace, name) == expected, f"killed after write {write}"
        assert killed >= 6, "children and status at least"
        assert state(api, namespace, name) == expected

        api.delete("ModelDeployment", namespace, name)
        os.kill(process.pid, signal.SIGKILL)
        process.stop()
        process.start()
        eventually(lambda: no_trace(api, namespace, name), timeout_s=60)
    finally:
        wire.heal()
        process.stop()
        controller.start()


def no_trace(api: Api, namespace: str, name: str) -> bool:
    return api.get("ModelDeployment", namespace, name) is None and not any(
        api.list(kind, namespace, labels=f"{OWNER_LABEL}={name}") for kind in KINDS
    )


def test_edits_in_any_order_end_with_the_last_one(api: Api, namespace: str, controller: ControllerProcess) -> None:
    """Sound edits and refused ones, deletions, and strangers' hands on the children, some while the controller is at it."""
    order = random.Random(8)
    for index, edit in enumerate(EDITS):
        apply(api, namespace, f"plain-{index}", **edit)
    for round_ in range(12):
        for name in NAMES:
            step(api, namespace, name, order)
        if round_ % 4 == 3:
            eventually(lambda: any(api.get("InferenceService", namespace, name) for name in NAMES))
    lasts = {name: order.randrange(len(EDITS)) for name in NAMES}
    for name, last in lasts.items():
        apply(api, namespace, name, **EDITS[last])
    for name, last in lasts.items():
        eventually(lambda name=name: ready(api, namespace, name), timeout_s=60)
        plain = f"plain-{last}"
        eventually(lambda plain=plain: ready(api, namespace, plain), timeout_s=60)
        eventually(lambda name=name, plain=plain: state(api, namespace, name) == state(api, namespace, plain))


def step(api: Api, namespace: str, name: str, order: random.Random) -> None:
    """One of STEPS, by chance."""
    chosen, kind = order.choice(STEPS), order.choice(KINDS)
    child = name if kind == "InferenceService" else f"{name}-predictor"
    match chosen:
        case "edit":
            apply(api, namespace, name, **order.choice(EDITS))
        case "refused":
            apply(api, namespace, name, cache={"ttl": "5m"})
        case "deleted":
            api.delete("ModelDeployment", namespace, name)
        case "child deleted":
            api.delete(kind, namespace, child)
        case "child edited" if api.get(kind, namespace, child):
            with contextlib.suppress(ApiError):  # it went in this moment
                api.patch(kind, namespace, child, {"metadata": {"labels": {OWNER_LABEL: None}}})
