"""The order of things: sweep each entrant's grid, then repetitions as the outer loop and servers as the inner one.

    sweep       entrant -> point -> start, warm, one headline stretch, stop       -> the best point of each
    repetition  entrant -> start, check, warm, every stretch of `tiny` (and gRPC), check, stop; again for `binary`

One server is up at a time. Called by `__main__.py`; what it measured goes to `summary.py` as `Row`s.
"""

import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar

from bench.harness import servers
from bench.harness.errors import BenchError, NotThere, WrongAnswer
from bench.harness.load import Load
from bench.harness.meter import Measured, measure
from bench.harness.servers import Question, Server, close
from bench.protocols import checks, grpc_load, http_load
from bench.protocols.entrants import Entrant, Plan, Point
from bench.protocols.payloads import BINARY_SHAPE, binary_request

Result = TypeVar("Result")

SETTLE_S = 5.0
"""How long a server gets to answer what the load before left behind: a closed loop ends with requests in flight."""

LONG = frozenset({"binary"})
"""Workloads with so few answers a second that every point gets the time of a headline."""


@dataclass(frozen=True)
class Row:
    """One measured stretch, of the sweep (repetition 0) or of a repetition."""

    repetition: int
    entrant: str
    point: Point
    workload: str
    connections: int
    measured: Measured
    start_s: float
    attempts: int
    is_disturbed: bool

    def as_dict(self) -> dict[str, object]:
        """Flat, for the result file."""
        fields = asdict(self)
        measured = fields.pop("measured")
        load = measured.pop("load")
        return fields | measured | load | {"requests_per_s": round(self.measured.load.requests_per_s, 1)}


class Campaign:
    """One run of the bench. `tell` gets a line of progress now and then."""

    def __init__(self, plan: Plan, entrants: tuple[Entrant, ...], workloads: set[str], tell: Callable[[str], None]):
        self._plan, self._entrants, self._workloads, self._tell = plan, entrants, workloads, tell
        self._settings = plan.settings
        self._truth = checks.truth()
        self._binary = binary_request(_tensor())
        self.failures: dict[str, str] = {}
        self.swept: list[Row] = []

    def sweep(self) -> dict[str, Point]:
        """The best point of each entrant by requests per second at the headline of `tiny`."""
        best: dict[str, Point] = {}
        for entrant in self._entrants:
            if len(entrant.points) == 1:
                best[entrant.name] = entrant.points[0]
                continue
            highest = 0.0
            failures = dict(self.failures)
            for point in entrant.points:
                row = self._guarded(entrant, lambda entrant=entrant, point=point: self._swept(entrant, point))
                if row and row.measured.load.requests_per_s > highest:
                    highest, best[entrant.name] = row.measured.load.requests_per_s, point
            if entrant.name in best:
                self.failures = failures  # a point of a grid may fail, as long as another works
        return best

    def repetition(self, number: int, best: dict[str, Point]) -> list[Row]:
        """Every entrant once, at its best point."""
        rows: list[Row] = []
        for entrant in self._entrants:
            if entrant.name not in best:
                continue
            wanted = self._repeated(number, entrant, best[entrant.name])
            self._guarded(entrant, lambda wanted=wanted: rows.extend(wanted))
        return rows

    def _guarded(self, entrant: Entrant, work: Callable[[], Result]) -> Result | None:
        """A peer that fails leaves the others their comparison; ours must not fail."""
        try:
            return work()
        except WrongAnswer:
            raise
        except BenchError as error:
            if entrant.role == "ours":
                raise
            self._tell(f"{entrant.name}: {error}")
            self.failures[entrant.name] = str(error).strip().splitlines()[0]
            return None

    def _swept(self, entrant: Entrant, point: Point) -> Row:
        connections = self._plan.headline("tiny")
        with servers.running(entrant.peer, point, "tiny", self._question) as server:
            checks.tiny(server, self._truth)
            self._warm(server, entrant, connections)
            stretch = self._tiny_stretch(server, connections, self._settings.sweep_duration_s)
            row = self._row(0, entrant, point, "tiny", connections, server, stretch)
        self.swept.append(row)
        return row

    def _repeated(self, number: int, entrant: Entrant, point: Point) -> Iterable[Row]:
        tiny, grpc, binary = (
            workload in entrant.workloads and workload in self._workloads for workload in ("tiny", "grpc", "binary")
        )
        if tiny or grpc:
            with servers.running(entrant.peer, point, "tiny", self._question) as server:
                checks.tiny(server, self._truth)
                if tiny:
                    self._warm(server, entrant, self._plan.headline("tiny"))
                    yield from self._rows(number, entrant, point, "tiny", server, self._tiny_stretch)
                if grpc:
                    self._grpc_stretch(server, self._plan.headline("grpc"), self._settings.warmup_s)()
                    yield from self._rows(number, entrant, point, "grpc", server, self._grpc_stretch)
                checks.tiny(server, self._truth)
        if binary:
            with servers.running(entrant.peer, point, "identity", Question([0.0] * 4)) as server:
                checks.binary(server, self._binary)
                self._binary_stretch(server, self._plan.headline("binary"), self._settings.warmup_s)()
                yield from self._rows(number, entrant, point, "binary", server, self._binary_stretch)
                checks.binary(server, self._binary)

    def _rows(
        self,
        number: int,
        entrant: Entrant,
        point: Point,
        workload: str,
        server: Server,
        stretch: Callable[[Server, int, float], Callable[[], Load]],
    ) -> Iterable[Row]:
        for connections in self._plan.connections[workload]:
            is_headline = connections == self._plan.headline(workload)
            is_long = is_headline or workload in LONG
            seconds = self._settings.duration_s if is_long else self._settings.side_duration_s
            yield self._row(
                number, entrant, point, workload, connections, server, stretch(server, connections, seconds)
            )

    def _row(
        self,
        number: int,
        entrant: Entrant,
        point: Point,
        workload: str,
        connections: int,
        server: Server,
        stretch: Callable[[], Load],
    ) -> Row:
        """Measured again while others disturb it; of several attempts the least disturbed is kept."""
        attempts: list[Measured] = []
        while True:
            servers.settle(server, SETTLE_S)
            attempts.append(measure(server, stretch))
            load = attempts[-1].load
            if load.wrong:
                raise WrongAnswer(
                    f"{entrant.name}: {load.wrong} of {load.checked} answers are wrong: {load.first_wrong}"
                )
            quiet = attempts[-1].foreign_cores <= self._settings.foreign_cores
            if (quiet and load.is_valid) or len(attempts) == self._settings.attempts:
                break
        kept = min(attempts, key=lambda measured: (not measured.load.is_valid, measured.foreign_cores))
        if not kept.load.is_valid:
            raise NotThere(f"{entrant.name} {workload} c={connections}: {_invalid(kept.load)}")
        disturbed = kept.foreign_cores > self._settings.foreign_cores
        row = Row(
            number, entrant.name, point, workload, connections, kept, round(server.start_s, 2), len(attempts), disturbed
        )
        self._tell(_line(row))
        return row

    @property
    def _first(self) -> tuple[list[float], list[float]]:
        return self._truth.rows[0], self._truth.answers[0]

    @property
    def _question(self) -> Question:
        row, expected = self._first
        return Question(row, lambda found: close(found, expected))

    def _warm(self, server: Server, entrant: Entrant, connections: int) -> None:
        self._tiny_stretch(server, connections, entrant.warmup_s)()

    def _tiny_stretch(self, server: Server, connections: int, seconds: float) -> Callable[[], Load]:
        row, expected = self._first
        dialect = server.launch.first
        target = http_load.Target(server.url(dialect), dialect.body(row), expected, headers=dialect.headers)
        return lambda: http_load.run(target, connections, seconds, server.folder)

    def _grpc_stretch(self, server: Server, callers: int, seconds: float) -> Callable[[], Load]:
        row, expected = self._first
        port = server.launch.grpc_port
        if port is None:
            raise NotThere("this server has no gRPC port")
        body = grpc_load.request("tiny", row)
        return lambda: grpc_load.run(port, body, expected, callers, seconds, server.folder)

    def _binary_stretch(self, server: Server, connections: int, seconds: float) -> Callable[[], Load]:
        wanted = self._binary
        target = http_load.Target(server.url(server.launch.first), wanted.body, wanted.tensor, wanted.json_length)
        return lambda: http_load.run(target, connections, seconds, server.folder)


def _tensor() -> bytes:
    """FP32 noise of the shape of a photo, the same in every run."""
    count = 1
    for side in BINARY_SHAPE:
        count *= side
    noise = random.Random(7)
    return struct.pack(f"<{count}f", *(noise.random() for _ in range(count)))


def _invalid(load: Load) -> str:
    if load.requests == 0:
        return f"no answer at all within {load.seconds:.0f} s"
    return f"{load.failed} of {load.requests} requests failed, {load.checked} answers checked: {load.first_wrong}"


def _line(row: Row) -> str:
    measured, load = row.measured, row.measured.load
    which = "sweep" if row.repetition == 0 else f"round {row.repetition}"
    note = f", disturbed by {measured.foreign_cores:.2f} cores" if row.is_disturbed else ""
    point = " ".join(f"{name}={value}" for name, value in row.point.items())
    return (
        f"{which}  {row.entrant:<14} {row.workload:<6} c={row.connections:<3} {load.requests_per_s:>8.0f} req/s  "
        f"p99 {load.p99_ms:7.1f} ms  client {measured.client_cores:.2f}  ({point}{note})"
    )
