"""Load on one server that is up: warm it, then closed loops and open ones, each answer compared. Called by `campaign.py`
and `soak.py`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.harness import http_files, servers
from bench.harness.errors import NotThere, WrongAnswer
from bench.harness.grid import Point
from bench.harness.load import Load
from bench.harness.meter import Measured, measure
from bench.harness.servers import Question, Server
from bench.predictor.assets import Assets
from bench.predictor.judge import Judge
from bench.predictor.plan import Entrant, Settings
from bench.predictor.rows import Stretch
from bench.predictor.weights import reference

SETTLE_S = 10.0
"""How long a server gets to answer what the load before left behind, or to finish what it does after its first answer."""
LATER_S = 0.8
"""Ours measures how forward passes best share the cores, once it has been idle for a moment."""
WARM_CONNECTIONS = 8


@dataclass(frozen=True)
class Target:
    """Who is measured with what. Repetition 0 is the sweep."""

    repetition: int
    entrant: Entrant
    model: str
    point: Point
    assets: Assets

    @property
    def judge(self) -> Judge:
        return Judge(reference(self.assets.model(self.model)), self.entrant.tolerance)


class Stretches:
    """On one server. `tell` gets a line for each stretch."""

    def __init__(self, target: Target, server: Server, settings: Settings, tell: Callable[[str], None]) -> None:
        self._target, self._server, self._settings, self._tell = target, server, settings, tell
        self._judge = target.judge

    def warm(self, protocol: str) -> None:
        """Several photos at a time, each at least once: whoever batches must not mix them up."""
        load = self._load(protocol, self._target.entrant.warmup_s, connections=WARM_CONNECTIONS)
        if load.wrong or load.failed:
            raise WrongAnswer(f"{protocol}: {load.wrong} wrong, {load.failed} failed: {load.first_wrong}")

    def closed(self, protocol: str, connections: int, seconds: float) -> Stretch:
        """So many connections, each with one request at a time."""
        return self._row(protocol, connections, 0.0, lambda: self._load(protocol, seconds, connections=connections))

    def open(self, protocol: str, rate_per_s: float, seconds: float) -> Stretch:
        """Requests at a constant rate, whatever becomes of those before."""
        return self._row(protocol, 0, round(rate_per_s, 2), lambda: self._load(protocol, seconds, rate=rate_per_s))

    def unrepeated(self, protocol: str, rate_per_s: float, seconds: float, keep: int) -> Load:
        """An open loop without a look at who disturbs it; of every `keep`-th answer the content is compared."""
        return self._load(protocol, seconds, rate=rate_per_s, keep=keep)

    def _load(self, protocol: str, seconds: float, **how: float) -> Load:
        dialect = self._server.launch.dialects[protocol]
        bodies = [dialect.body(file) for file in self._target.assets.files]
        target = http_files.Target(self._server.url(dialect), dialect, bodies, self._judge.problem)
        return http_files.run(target, self._server.folder, seconds, **how)

    def _row(self, protocol: str, connections: int, rate_per_s: float, stretch: Callable[[], Load]) -> Stretch:
        """Measured again while others disturb it; of several attempts the least disturbed is kept."""
        attempts: list[Measured] = []
        while True:
            servers.settle(self._server, SETTLE_S)
            attempts.append(measure(self._server, stretch))
            load = attempts[-1].load
            if load.wrong:
                raise WrongAnswer(f"{load.wrong} of {load.checked} answers are wrong: {load.first_wrong}")
            quiet = attempts[-1].foreign_cores <= self._settings.foreign_cores
            if (quiet and load.is_valid) or len(attempts) == self._settings.attempts:
                break
        kept = min(attempts, key=lambda measured: (not measured.load.is_valid, measured.foreign_cores))
        if not kept.load.is_valid:
            load = kept.load
            raise NotThere(
                f"{protocol}, {connections} connections: {load.failed} of {load.requests} requests failed, "
                f"{load.checked} answers checked: {load.first_wrong}"
            )
        target = self._target
        disturbed = kept.foreign_cores > self._settings.foreign_cores
        row = Stretch(
            target.repetition,
            target.entrant.name,
            target.model,
            target.point,
            protocol,
            connections,
            rate_per_s,
            kept,
            len(attempts),
            disturbed,
        )
        self._tell(_line(row))
        return row


@contextlib.contextmanager
def running(target: Target) -> Iterator[Server]:
    """The target's server, once it has answered rightly and does nothing any more."""
    judge, files = target.judge, target.assets.files
    question = Question(files[0], lambda found: judge.problem(0, found) is None)
    model = target.assets.model(target.model)
    with servers.running(target.entrant.peer, target.point, "images", question, model) as server:
        if target.entrant.is_ours:
            time.sleep(LATER_S)
            servers.settle(server, SETTLE_S)
        yield server


def _line(row: Stretch) -> str:
    measured, load = row.measured, row.measured.load
    when = "sweep" if row.repetition == 0 else f"round {row.repetition}"
    how = f"{row.rate_per_s:.0f}/s" if row.rate_per_s else f"c={row.connections}"
    note = f", disturbed by {measured.foreign_cores:.2f} cores" if row.is_disturbed else ""
    point = " ".join(f"{name}={value}" for name, value in row.point.items())
    return (
        f"{when}  {row.entrant:<10} {row.model} {row.protocol} {how:<5} {load.requests_per_s:7.1f} images/s  "
        f"p50 {load.p50_ms:6.1f}  p99 {load.p99_ms:6.1f} ms  ({point}{note})"
    )
