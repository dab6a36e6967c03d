"""Five times more than the server can do: who is served in time, who is refused at once? `make bench-overload`.

    alone    half of what the server can do       -> what an answer takes while nobody waits
    crowd    five times as much as it can do      -> what it takes for those who are admitted, and to be refused
    after    half of it again                     -> how long until answers take what they took before

An open loop with a connection for each request in flight, in this process: unlike the closed loops of the other benchmarks it
must tell refused from served, and little of it is CPU. Requests come as callers that know nothing of each other make them, with
exponential gaps (a Poisson process) from a fixed seed.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import aiohttp
from bench.harness.errors import NotThere
from bench.harness.launch import Dialect
from bench.predictor.assets import Assets
from bench.predictor.plan import Entrant, Settings
from bench.predictor.stretches import Stretches, Target, running

from moorage.api.exit_codes import ExitCode

LIMITS = {"max_batch_size": 2, "max_queue_size": 2}
"""Who waits no longer than one batch is served in time; with the usual 256 rows everybody is served, and late."""
SEED = 7
CONNECTIONS = 4
"""So many are never refused."""
TIMES = 5.0
SHARE = 0.5
ALONE_S = 10.0
CROWD_S = 10.0
WINDOW_S = 0.5
"""In which all is well again if no more are refused or slow than in the worst one before the crowd came: random arrivals come in
bursts, and the limits are small."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    at: float
    """Seconds since the stretch began, when it was due."""
    status: int
    seconds: float


def run(entrant: Entrant, model: str, assets: Assets, settings: Settings, tell: Callable[[str], None]) -> ExitCode:
    """The last line of stdout is the RESULT."""
    point = {**entrant.points[0], **LIMITS}
    target = Target(0, replace(entrant, points=(point,)), model, point, assets)
    with running(target) as server:
        stretches = Stretches(target, server, settings, tell)
        stretches.closed("v1", CONNECTIONS, settings.duration_s)  # warm
        capacity = stretches.closed("v1", CONNECTIONS, settings.duration_s).measured.load.requests_per_s
        dialect = server.launch.dialects["v1"]
        bodies = [dialect.body(file) for file in assets.files]

        def stretch(rate: float, seconds: float) -> list[Asked]:
            return asyncio.run(_open_loop(server.url(dialect), dialect, bodies, rate, seconds))

        alone = stretch(SHARE * capacity, ALONE_S)
        crowd = stretch(TIMES * capacity, CROWD_S)
        after = stretch(SHARE * capacity, ALONE_S)
    odd = {one.status for one in (*alone, *crowd, *after)} - {200, 503}
    if odd:
        raise NotThere(f"expected answers of 200 and 503 alone, found {sorted(odd)}")
    usual = p99([one.seconds for one in alone if one.status == 200])
    admitted = [one.seconds for one in crowd if one.status == 200]
    refused = [one.seconds for one in crowd if one.status == 503]
    print(
        f"{entrant.name}, {model}: {capacity:.1f}/s at most; alone p99 {1e3 * usual:.1f} ms; of {len(crowd)} at "
        f"{TIMES:g} times as much {len(admitted)} served, p99 {1e3 * p99(admitted):.1f} ms, "
        f"{len(refused)} refused, p99 {1e3 * p99(refused):.1f} ms"
    )
    print(
        f"RESULT overload_admitted_vs_idle={p99(admitted) / usual:.2f} overload_refused_p99_ms={1e3 * p99(refused):.1f} "
        f"overload_served_share={len(admitted) / CROWD_S / capacity:.2f} overload_recovery_s={recovery_s(alone, after, usual):.1f}"
    )
    return ExitCode.OK


async def _open_loop(url: str, dialect: Dialect, bodies: list[bytes], rate: float, seconds: float) -> list[Asked]:
    asked: list[Asked] = []
    started = time.perf_counter()
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)
        ) as session,
        asyncio.TaskGroup() as crowd,
    ):

        async def ask(due: float, body: bytes) -> None:
            async with session.post(url, data=body, headers=dict(dialect.headers)) as answer:
                await answer.read()
                asked.append(Asked(due, answer.status, time.perf_counter() - started - due))

        gaps, due = random.Random(SEED), 0.0
        for body in itertools.cycle(bodies):
            due += gaps.expovariate(rate)
            if due > seconds:
                break
            if (wait := due - (time.perf_counter() - started)) > 0:
                await asyncio.sleep(wait)
            crowd.create_task(ask(due, body))
    return asked


def p99(values: list[float]) -> float:
    """0 of none."""
    return sorted(values)[int(0.99 * (len(values) - 1))] if values else 0.0


def recovery_s(alone: list[Asked], after: list[Asked], usual: float) -> float:
    """The end of the last window that is worse than any was before."""
    worst = max(_ill(alone, usual).values(), default=0)
    worse = [window for window, ill in _ill(after, usual).items() if ill > worst]
    return (max(worse) + 1) * WINDOW_S if worse else 0.0


def _ill(asked: list[Asked], usual: float) -> Counter[int]:
    """By window, how many were refused or took longer than twice what is usual."""
    return Counter(int(one.at / WINDOW_S) for one in asked if one.status != 200 or one.seconds > 2 * usual)
