"""One server at a time: started in its own session, ready once it answers rightly, stopped with all its processes.

Called by both campaigns. A server's own output goes to a file in its folder, whose end is shown when it does not start.
"""

import contextlib
import dataclasses
import http.client
import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
from bench.harness import environments, paths
from bench.harness.errors import NotThere, WrongAnswer
from bench.harness.launch import Dialect, Launch, Place, Point

START_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0
START_SETTLE_S = 15.0
POLL_S = 0.02
IDLE_CORES = 0.1
PORTS = 6
MARK = "MOORAGE_BENCH_SERVER"


@dataclass(frozen=True)
class Question:
    """What a server is asked until it answers, in its first dialect, and whether what it read is right."""

    value: Any
    is_right: Callable[[Any], bool] = lambda found: True


@dataclass(frozen=True)
class Server:
    """A server that answers. `start_s` is the time from the start of its process to its first right answer."""

    launch: Launch
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    spawned: float
    start_s: float = 0.0

    def url(self, dialect: Dialect) -> str:
        return f"http://127.0.0.1:{self.port}{dialect.path}"

    def post(
        self, dialect: Dialect, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", dialect.path, body, {**dialect.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """What it says itself; who cannot say it is asked something else."""
        if self.launch.ready is None:
            return True
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", self.launch.ready)
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def members(self) -> list[psutil.Process]:
        """Every process that this start brought about, even those that left its session or its tree."""
        found = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            found = {child.pid: child for child in (root, *root.children(recursive=True))}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                ours = os.getsid(process.pid) == self.process.pid
                if ours or process.environ().get(MARK) == str(self.folder):
                    found[process.pid] = process
        return [process for process in found.values() if process.status() != psutil.STATUS_ZOMBIE]


@contextlib.contextmanager
def running(peer: str, point: Point, workload: str, question: Question, model: Path | None = None) -> Iterator[Server]:
    """A server that has given its first right answer. Every process of it is gone afterwards, and its folder."""
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    try:
        place = Place(point, free_ports(PORTS), folder, environments.interpreter(peer), workload, model)
        server = _start(peer, place)
        try:
            yield _once_ready(server, question)
        finally:
            _stop(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(peer: str) -> None:
    """Its environment, and whatever else it needs, before anything is measured."""
    environments.interpreter(peer)
    check = getattr(launcher(peer), "check", None)
    if check:
        check()


def launcher(peer: str) -> ModuleType:
    """The module that knows how to start this peer."""
    return importlib.import_module(f"bench.peers.{peer}.launch")


def _start(peer: str, place: Place) -> Server:
    folder = place.folder
    launch = launcher(peer).launch(place)
    environment = environments.variables()
    environment["PATH"] = f"{place.python.parent}:{environment.get('PATH', '')}"
    environment |= {"TMPDIR": str(folder), MARK: str(folder)} | launch.environment
    with (folder / "server.log").open("wb") as log:
        spawned = time.perf_counter()
        process = subprocess.Popen(
            launch.argv,
            cwd=paths.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(launch, place.http_port, process, folder, spawned)


def _once_ready(server: Server, question: Question) -> Server:
    dialect = server.launch.first
    body = dialect.body(question.value)
    while True:
        if server.process.poll() is not None:
            raise NotThere(f"the server ended with status {server.process.returncode}: {_said(server)}")
        if time.perf_counter() - server.spawned > START_LIMIT_S:
            raise NotThere(f"the server did not answer within {START_LIMIT_S:.0f} s: {_said(server)}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.is_ready():
                status, _, answer = server.post(dialect, body)
                if status == 200:
                    break
        time.sleep(POLL_S)
    seconds = time.perf_counter() - server.spawned
    if not question.is_right(dialect.read(answer)):
        raise WrongAnswer(f"the server's first answer is wrong: {answer[:300]!r}")
    settle(server, START_SETTLE_S, period_s=0.5)
    return dataclasses.replace(server, start_s=seconds)


def settle(server: Server, limit_s: float, period_s: float = 0.25) -> None:
    """Until it uses next to no CPU: its other workers have started, or what a load left behind is answered."""
    end = time.perf_counter() + limit_s
    before = cpu_seconds(server.members())
    while time.perf_counter() < end:
        time.sleep(period_s)
        now = cpu_seconds(server.members())
        if now - before < IDLE_CORES * period_s:
            return
        before = now


def _stop(server: Server) -> None:
    members = server.members()
    server.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(STOP_LIMIT_S)
    for process in {*members, *server.members()}:
        with contextlib.suppress(psutil.Error):
            process.kill()
    server.process.wait()
    psutil.wait_procs(members, timeout=STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)


def _said(server: Server) -> str:
    return "\n" + (server.folder / "server.log").read_text(errors="replace")[-2500:]


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of 127.0.0.1 that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """What these processes have used so far, their ended children included."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def close(found: list[float], expected: list[float]) -> bool:
    """Equal up to what another order of float32 additions may change."""
    return len(found) == len(expected) and all(
        abs(one - other) <= 1e-5 * max(1.0, abs(other)) for one, other in zip(found, expected, strict=True)
    )
