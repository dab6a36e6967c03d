"""Controllers whose clocks are hours off, and jump: who leads, and when something is due, hangs on no clock that can be set.

libfaketime stands between the controller and the clock of the day (Debian package faketime, tools/debian_packages.sh).
Clocks that nobody can set stay as they are, as on a machine whose time is corrected.
"""

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.deployments import apply
from tests.control_plane.audit import Request
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
FAILOVER_S = 20.0


class Clock:
    """The clock of the day of one process: so many hours before or behind the real one."""

    def __init__(self, file: Path, hours: float) -> None:
        self._file = file
        self.set(hours)

    def set(self, hours: float) -> None:
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(f"{hours * 3600:+.0f}\n")
        fresh.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process believe it; the file is read at each look at the clock."""
        assert LIBRARY is not None
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


Both = tuple[ControllerProcess, ControllerProcess, Clock]


@pytest.fixture
def pair(control_plane: Cluster, controller: ControllerProcess, tmp_path: Path) -> Iterator[Both]:
    """A leader three hours behind, with its clock, and a standby three hours ahead; the usual controller rests meanwhile."""
    if LIBRARY is None:
        pytest.skip("no libfaketime: apt-get install faketime")
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    controller.stop()
    clock, ahead = Clock(tmp_path / "behind", -3), Clock(tmp_path / "ahead", 3)
    logs = control_plane.run_dir
    behind = ControllerProcess(control_plane, logs / "clock-behind.log", environment=clock.environment)
    standby = ControllerProcess(control_plane, logs / "clock-ahead.log", environment=ahead.environment)
    try:
        behind.start()
        eventually(behind.leads)
        standby.start()
        yield behind, standby, clock
    finally:
        behind.stop()
        standby.stop()
        controller.start()


def hours_off(api: Api, namespace: str, name: str) -> int:
    """How far from ours the clock is by which Ready got its time, once it is True for the latest spec."""
    mdep = api.get("ModelDeployment", namespace, name)
    found = condition(mdep, "Ready")
    assert found["status"] == "True"
    assert found["observedGeneration"] == mdep["metadata"]["generation"]
    return round((datetime.fromisoformat(found["lastTransitionTime"]) - datetime.now(UTC)) / timedelta(hours=1))


def writes_of(plane: ControlPlane, process: ControllerProcess, since: int) -> list[Request]:
    return [each for each in plane.audit.writes(since=since) if process.identity in each.user_agent]


def test_clocks_that_are_hours_apart_and_jump_change_neither_who_leads_nor_what_is_done(
    api: Api, namespace: str, control_plane: ControlPlane, pair: Both
) -> None:
    behind, ahead, clock = pair
    mark = control_plane.audit.mark()
    for hours, name in ((-3, "one"), (-2, "later"), (-4, "earlier")):
        clock.set(hours)
        apply(api, namespace, name)
        assert eventually(lambda name=name: hours_off(api, namespace, name)) == hours, "the clock is not set"
        api.delete("NetworkPolicy", namespace, f"{name}-predictor")
        eventually(lambda name=name: api.get("NetworkPolicy", namespace, f"{name}-predictor"), timeout_s=10)
        time.sleep(4)  # more than a lease lasts, over the three
    assert behind.leads()
    assert writes_of(control_plane, ahead, mark) == [], (
        "a lease that was renewed hours ago by the clock is no old lease"
    )

    behind.signal(signal.SIGKILL)
    died = time.monotonic()
    apply(api, namespace, "after")
    assert eventually(lambda: hours_off(api, namespace, "after"), timeout_s=FAILOVER_S + 10) == 3
    first = min(each.at for each in writes_of(control_plane, ahead, mark))
    last = max(each.at for each in writes_of(control_plane, behind, mark))
    assert last < first
    assert time.monotonic() - died < FAILOVER_S + 10
