"""The controller when the API server or the network fails: through a TLS proxy of the tests that injects the faults.

Watches may be silent for 5 s here and not for 60, so that what follows from it can be waited for. Outages last as long as it
takes to notice them; MOORAGE_STRESS_S, in seconds, makes each of them last for at least so long.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.deployments import apply, ready
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.fault_proxy import FaultProxy, Match, error_event, status
from tests.control_plane.outage import STRESS_S, lasting
from tests.control_plane.pki import Authority
from tests.control_plane.plane import Cluster, ControlPlane

from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]

IDLE_S = 5
BACK_S = 30.0
"""Within this time after an outage everything that changed meanwhile has been handled."""


@pytest.fixture(scope="module")
def plane(control_plane: Cluster) -> ControlPlane:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("the proxy needs a certificate of the cluster's own authority")
    return control_plane


@pytest.fixture(scope="module")
def wire(plane: ControlPlane) -> Iterator[FaultProxy]:
    with FaultProxy(plane.url, plane.ca, *plane.server_certificate()) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def behind(plane: ControlPlane, controller: ControllerProcess, wire: FaultProxy) -> Iterator[ControllerProcess]:
    """The controller behind the proxy; the one of the other tests rests meanwhile."""
    controller.stop()
    process = ControllerProcess(plane, plane.run_dir / "behind-proxy.log", [f"--watch-idle={IDLE_S}"], url=wire.url)
    process.start()
    eventually(process.leads)
    yield process
    wire.heal()
    process.stop()
    controller.start()


@pytest.fixture
def proxy(wire: FaultProxy, behind: ControllerProcess) -> Iterator[FaultProxy]:
    wire.heal()
    pid = behind.pid
    eventually(lambda: behind.readiness()["ready"] and behind.leads())
    yield wire
    wire.heal()
    assert behind.running
    assert behind.pid == pid, "it was never started anew"


def bounds(api: Api, namespace: str, name: str = "cats") -> int:
    return api.get("InferenceService", namespace, name)["spec"]["predictor"]["maxReplicas"]


@pytest.mark.timeout(180 + STRESS_S)
@pytest.mark.parametrize("outage", ["refused", "503", "frozen"])
def test_what_changed_during_an_outage_is_handled_soon_after_it(
    api: Api, namespace: str, proxy: FaultProxy, behind: ControllerProcess, outage: str
) -> None:
    apply(api, namespace, "edited")
    apply(api, namespace, "deleted")
    eventually(lambda: ready(api, namespace, "edited") and ready(api, namespace, "deleted"))
    said = len(behind.log())
    with lasting() as outage_s:
        {"refused": proxy.refuse, "503": lambda: proxy.answer_all(503), "frozen": proxy.freeze}[outage]()
        apply(api, namespace, "edited", scaling={"minReplicas": 1, "maxReplicas": 7})
        apply(api, namespace, "made")
        api.delete("ModelDeployment", namespace, "deleted")
        eventually(lambda: api.get("InferenceService", namespace, "deleted") is None)
        eventually(lambda: not behind.leads(), timeout_s=15)
        if outage == "frozen":
            eventually(lambda: behind.readiness()["staleSince"]["inferenceservices"], timeout_s=15)
    assert behind.get("/healthz") == '{"live": true}', "a restart would not help"
    lines = [json.loads(line) for line in behind.log()[said:].splitlines()]
    # namespaces of the tests before are still going, and what is in them is looked after as well
    lines = [line for line in lines if line.get("namespace") in (None, namespace)]
    assert len(lines) < 40 + outage_s(), "what goes on is said once, or once at each of kopf's tries"
    assert [line for line in lines if line.get("level") == "ERROR" and "Traceback" in str(line)] == []
    proxy.heal()
    started = time.monotonic()
    eventually(lambda: bounds(api, namespace, "edited") == 7, BACK_S)
    eventually(lambda: ready(api, namespace, "made"), BACK_S)
    assert time.monotonic() - started < BACK_S
    time.sleep(1)
    assert api.get("ServiceAccount", namespace, "deleted-predictor") is None, "what went is not made again"


def test_a_watch_that_falls_silent_is_opened_anew(api: Api, namespace: str, proxy: FaultProxy) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    proxy.silence()
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 7})
    api.delete("ServiceAccount", namespace, "cats-predictor")
    eventually(lambda: bounds(api, namespace) == 7, timeout_s=IDLE_S * 1.25 + 5)
    eventually(lambda: api.get("ServiceAccount", namespace, "cats-predictor"), timeout_s=IDLE_S * 1.25 + 5)


def test_a_change_that_a_watch_never_told_is_found_by_counting(
    api: Api, namespace: str, proxy: FaultProxy, behind: ControllerProcess
) -> None:
    apply(api, namespace, "lost")
    eventually(lambda: ready(api, namespace, "lost"))
    proxy.lose("/modeldeployments")
    apply(api, namespace, "lost", scaling={"minReplicas": 1, "maxReplicas": 7})
    eventually(lambda: bounds(api, namespace, "lost") == 7, timeout_s=BACK_S)
    assert "moorage_watch_missed_total 0.0" not in behind.get("/metrics")


def test_a_watch_whose_version_has_expired_begins_with_a_list_and_knows_what_went_meanwhile(
    api: Api, namespace: str, proxy: FaultProxy
) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    proxy.refuse()
    api.delete("NetworkPolicy", namespace, "cats-predictor")
    for end in ("/networkpolicies", "/modeldeployments", "/inferenceservices"):
        proxy.once(Match("GET", end, watch=True), error_event(410, "Expired"))
        proxy.once(Match("GET", end, watch=True), status(410, "Gone"))
    proxy.listen_again()
    eventually(lambda: api.get("NetworkPolicy", namespace, "cats-predictor"), BACK_S)
    eventually(lambda: proxy.waiting() == 0, BACK_S)
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 7})
    eventually(lambda: bounds(api, namespace) == 7)


def test_an_unknown_error_in_the_stream_of_modeldeployments_costs_ten_seconds_at_most(
    api: Api, namespace: str, proxy: FaultProxy, behind: ControllerProcess
) -> None:
    proxy.once(Match("GET", "/modeldeployments", watch=True), error_event(500, "InternalError"))
    proxy.cut()
    eventually(lambda: proxy.waiting() == 0)
    met = time.monotonic()
    apply(api, namespace)
    eventually(lambda: ready(api, namespace), timeout_s=10)
    assert time.monotonic() - met < 10
    assert '"kopf ended"' in behind.log()


def test_the_servers_wish_to_wait_holds_for_that_object_and_for_no_other(
    api: Api, namespace: str, proxy: FaultProxy
) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    refused = Match("PATCH", "/inferenceservices/cats")
    proxy.once(refused, status(429, "TooManyRequests", **{"Retry-After": "7"}))
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 7})
    eventually(lambda: proxy.waiting() == 0)
    met = next(seen.at for seen in reversed(proxy.seen) if refused(seen))
    api.patch("ServiceAccount", namespace, "cats-predictor", {"metadata": {"labels": {"team": "sea"}}})
    apply(api, namespace, "dogs")
    eventually(lambda: ready(api, namespace, "dogs"), timeout_s=5)
    eventually(lambda: bounds(api, namespace) == 7, timeout_s=15)
    later = [seen.at for seen in proxy.seen if seen.at > met and f"/{namespace}/" in seen.path and "cats" in seen.path]
    assert min(later) - met >= 7
    eventually(lambda: ready(api, namespace, "cats"))


def test_a_conflict_is_tried_again_and_loses_no_foreign_field(api: Api, namespace: str, proxy: FaultProxy) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    proxy.once(Match("PATCH", "/inferenceservices/cats"), status(409, "Conflict"))
    proxy.once(Match("PATCH", "/modeldeployments/cats/status"), status(409, "Conflict"))
    api.patch("InferenceService", namespace, "cats", {"metadata": {"labels": {"team": "sea"}}})
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 7})
    eventually(lambda: bounds(api, namespace) == 7 and ready(api, namespace))
    eventually(lambda: proxy.waiting() == 0)
    assert api.get("InferenceService", namespace, "cats")["metadata"]["labels"]["team"] == "sea"
    events = [each["reason"] for each in api.list("v1/Event", namespace) if each["type"] == "Warning"]
    assert "ApplyFailed" not in events


def test_a_token_that_was_rotated_is_read_anew(
    api: Api, namespace: str, proxy: FaultProxy, behind: ControllerProcess
) -> None:
    old = behind.renew_token()
    proxy.always(Match(token=old), status(401, "Unauthorized"))
    proxy.cut()
    apply(api, namespace)
    eventually(lambda: ready(api, namespace), BACK_S)


def test_a_certificate_of_a_new_authority_is_believed_once_that_authority_is_in_the_file(
    api: Api, namespace: str, proxy: FaultProxy, behind: ControllerProcess, plane: ControlPlane, tmp_path: Path
) -> None:
    rotated = Authority(tmp_path, "rotated")
    served = rotated.server("apiserver", "kube-apiserver")
    proxy.present(served.certificate_path, served.key_path)
    apply(api, namespace)
    try:
        time.sleep(2)
        assert api.get("InferenceService", namespace, "cats") is None, "nobody vouches for that certificate yet"
        behind.trust(rotated.pair.certificate_path)
        eventually(lambda: ready(api, namespace), BACK_S)
    finally:
        behind.trust(plane.ca)
        proxy.present(*plane.server_certificate())
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 7})
    eventually(lambda: bounds(api, namespace) == 7, BACK_S)


def test_events_that_cannot_be_posted_change_nothing_else(api: Api, namespace: str, proxy: FaultProxy) -> None:
    proxy.always(Match("POST", "/events"), status(403, "Forbidden"))
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))


@pytest.mark.parametrize("there", ["nothing", "ours"])
def test_a_stranger_that_comes_between_our_look_and_our_write_is_not_taken_over(
    api: Api, namespace: str, proxy: FaultProxy, there: str
) -> None:
    name = "cats-predictor"
    stranger = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}

    def come() -> None:
        api.delete("ServiceAccount", namespace, name)
        api.create(stranger)

    if there == "ours":
        apply(api, namespace)
        eventually(lambda: ready(api, namespace))
    proxy.before(Match("PATCH", f"/serviceaccounts/{name}"), come)
    if there == "ours":
        labels = api.get("ServiceAccount", namespace, name)["metadata"]["labels"]
        edited = dict.fromkeys(labels, "x") | {OWNER_LABEL: "cats"}
        api.patch("ServiceAccount", namespace, name, {"metadata": {"labels": edited}})
    else:
        apply(api, namespace)
    eventually(lambda: condition(api.get("ModelDeployment", namespace, "cats"), "Accepted").get("reason") == "Conflict")
    live = api.get("ServiceAccount", namespace, name)["metadata"]
    assert "labels" not in live
    assert "ownerReferences" not in live
    assert "moorage" not in [entry["manager"] for entry in live.get("managedFields", [])]
