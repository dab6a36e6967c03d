"""Half load for a long time: does memory grow? `make bench-soak`. Prints the slope of the server's RSS."""

import threading
from collections.abc import Callable, Sequence

from bench.harness.errors import NotThere, WrongAnswer
from bench.harness.footprint import footprint
from bench.predictor.assets import Assets
from bench.predictor.plan import Entrant, Settings
from bench.predictor.stretches import Stretches, Target, running

from moorage.api.exit_codes import ExitCode

SHARE = 0.5
CONNECTIONS = 32
KEEP = 10
"""Of so many answers one is compared; of all the status."""
SAMPLES_PER_MINUTE = 12
WARM_SHARE = 0.1
"""Of the time, whose samples are left out: caches fill, allocators find their size."""

Sample = tuple[float, float]
"""Minutes since the start, RSS in MiB."""


def run(
    entrant: Entrant,
    model: str,
    assets: Assets,
    settings: Settings,
    minutes: float,
    tell: Callable[[str], None],
) -> ExitCode:
    """The last line of stdout is the RESULT."""
    target = Target(0, entrant, model, entrant.points[0], assets)
    samples: list[Sample] = []
    finished = threading.Event()
    with running(target) as server:
        stretches = Stretches(target, server, settings, tell)
        for protocol in server.launch.dialects:
            stretches.warm(protocol)
        capacity = stretches.closed("v1", CONNECTIONS, settings.duration_s).measured.load.requests_per_s
        members = server.members()

        def sample() -> None:
            period_s = 60 / SAMPLES_PER_MINUTE
            while not finished.wait(period_s):
                samples.append((len(samples) / SAMPLES_PER_MINUTE, footprint(members).rss_mib))
                if len(samples) % SAMPLES_PER_MINUTE == 0:
                    tell(f"{samples[-1][0]:.0f} min, {samples[-1][1]:.1f} MiB RSS")

        watcher = threading.Thread(target=sample)
        watcher.start()
        try:
            load = stretches.unrepeated("v1", SHARE * capacity, 60 * minutes, KEEP)
        finally:
            finished.set()
            watcher.join()
    if load.wrong:
        raise WrongAnswer(f"{load.wrong} of {load.checked} answers are wrong: {load.first_wrong}")
    if load.failed or len(samples) < 3:
        raise NotThere(f"{load.failed} of {load.requests} requests failed, {len(samples)} samples: {load.first_wrong}")
    first, last = samples[0][1], samples[-1][1]
    print(
        f"{entrant.name}, {model}: {load.requests} requests in {minutes:g} min at {SHARE * capacity:.1f}/s, "
        f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, RSS {first:.1f} to {last:.1f} MiB"
    )
    print(f"RESULT soak_rss_slope_mb_per_min={slope(samples[int(WARM_SHARE * len(samples)) :]):.3f}")
    return ExitCode.OK


def slope(samples: Sequence[Sample]) -> float:
    """MiB a minute, by least squares."""
    count = len(samples)
    middle_x, middle_y = (sum(sample[axis] for sample in samples) / count for axis in (0, 1))
    across = sum((x - middle_x) ** 2 for x, _ in samples)
    return sum((x - middle_x) * (y - middle_y) for x, y in samples) / across if across else 0.0
