"""Two controllers at once: one writes, the other takes over, and a leader that was paused writes nothing when it wakes."""

import signal
import time
from collections.abc import Iterator

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.deployments import apply
from tests.control_plane.audit import Request
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]

FAILOVER_S = 20.0
MANY = 15


@pytest.fixture
def pair(
    control_plane: Cluster, controller: ControllerProcess
) -> Iterator[tuple[ControllerProcess, ControllerProcess]]:
    """A leader and a standby; the controller of the other tests rests meanwhile."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    controller.stop()
    both = tuple(ControllerProcess(control_plane, control_plane.run_dir / f"{name}.log") for name in ("one", "two"))
    try:
        both[0].start()
        eventually(both[0].leads)
        both[1].start()
        yield both
    finally:
        for each in both:
            if each.running:
                each.signal(signal.SIGCONT)
            each.stop()
        controller.start()


def writes_of(plane: ControlPlane, process: ControllerProcess, since: int) -> list[Request]:
    return [each for each in plane.audit.writes(since=since) if process.identity in each.user_agent]


def test_a_paused_leader_is_replaced_in_time_and_writes_nothing_when_it_wakes(
    api: Api,
    namespace: str,
    control_plane: ControlPlane,
    pair: tuple[ControllerProcess, ControllerProcess],
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two = pair
    mark = control_plane.audit.mark()
    assert not two.leads()
    for index in range(MANY):
        apply(api, namespace, f"m{index}")
    eventually(lambda: writes_of(control_plane, one, mark))
    one.signal(signal.SIGSTOP)  # in the middle of its work
    paused = time.perf_counter()
    apply(api, namespace, "late")
    eventually(lambda: writes_of(control_plane, two, mark), timeout_s=FAILOVER_S + 10)
    failover_s = time.perf_counter() - paused
    with capsys.disabled():
        print(f"\n  failover_s={failover_s:.1f}", end=" ")
    assert failover_s < FAILOVER_S
    assert two.leads()
    eventually(lambda: api.get("InferenceService", namespace, "late"), timeout_s=60)

    for index in range(MANY):  # so that there is something to fight over
        apply(api, namespace, f"m{index}", scaling={"minReplicas": 2, "maxReplicas": 4})
    one.signal(signal.SIGCONT)
    time.sleep(3)
    assert not one.leads()
    eventually(lambda: all_ready(api, namespace, MANY + 1), timeout_s=60)
    ones, twos = writes_of(control_plane, one, mark), writes_of(control_plane, two, mark)
    assert ones
    assert twos
    first = min(each.at for each in twos)
    assert [each for each in ones if each.at >= first] == [], "never one among the other's"

    two.stop()  # in order: the lease is given back
    began = time.perf_counter()
    eventually(one.leads, timeout_s=FAILOVER_S)
    assert time.perf_counter() - began < 6
    apply(api, namespace, "after")
    eventually(lambda: api.get("InferenceService", namespace, "after"))


def all_ready(api: Api, namespace: str, count: int) -> bool:
    found = api.list("ModelDeployment", namespace)
    return len(found) == count and all(
        condition(each, "Ready").get("status") == "True"
        and condition(each, "Ready")["observedGeneration"] == each["metadata"]["generation"]
        for each in found
    )
