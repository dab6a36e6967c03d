"""Who used the CPU during one stretch of load: server, client, and anybody else. `campaign.py` repeats a stretch that
others disturbed, because on two cores a neighbour's compiler halves every figure.
"""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil
from bench.harness.load import Load
from bench.harness.servers import Server, cpu_seconds

Result = TypeVar("Result")

MIB = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """A stretch of load and what it cost. Shares are in cores."""

    load: Load
    server_cores: float
    client_cores: float
    foreign_cores: float
    rss_mib: float


@dataclass(frozen=True)
class Shares:
    """Who used how many cores."""

    server: float
    client: float
    foreign: float


def measure(server: Server, stretch: Callable[[], Load]) -> Measured:
    """Run one stretch between two looks at everybody's CPU time."""
    members = server.members()
    load, cores = shares(stretch, server.members)
    rss = sum(_rss(process) for process in members)
    return Measured(load, cores.server, cores.client, cores.foreign, round(rss / MIB, 1))


def shares(work: Callable[[], Result], members: Callable[[], list[psutil.Process]] = list) -> tuple[Result, Shares]:
    """Do something; `members` are the server's processes. What this process starts and waits for is the client's."""
    before = _looks(members)
    result = work()
    after = _looks(members)
    seconds, busy, served, sent = (later - earlier for earlier, later in zip(before, after, strict=True))
    foreign = max(0.0, busy - served - sent)
    return result, Shares(*(round(value / seconds, 3) for value in (served, sent, foreign)))


def _looks(members: Callable[[], list[psutil.Process]]) -> tuple[float, float, float, float]:
    """Now; the machine's busy seconds; the server's; the client's, which is this process with its ended children.

    Time in interrupts is nobody's: packets over loopback are handled there, so it belongs to the load itself. Stolen
    time is foreign: another machine on the same host took it.
    """
    own = os.times()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    machine = psutil.cpu_times()
    busy = machine.user + machine.nice + machine.system + getattr(machine, "steal", 0.0)
    sent = own.user + own.system + children.ru_utime + children.ru_stime
    return time.perf_counter(), busy, cpu_seconds(members()), sent


def _rss(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
