"""The order of things: sweep each grid, then repetitions as the outer loop, networks and servers as the inner ones.

    build       network -> entrant of ours -> its engine
    sweep       network -> limit: every split; entrant -> point -> start, warm, one stretch at most connections, stop
    repetition  network -> floor; entrant -> start, warm, every stretch, the open loop, stop; of ours each stretch stands between
                two of its limit, of peers the limit comes before the first

One process is measured at a time; the others wait. Called by `__main__.py`; what it measured goes to `summary.py`.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from bench.harness.errors import BenchError, WrongAnswer
from bench.harness.footprint import footprint
from bench.harness.grid import Point
from bench.predictor import processes
from bench.predictor.assets import Assets
from bench.predictor.plan import Best, Entrant, Plan, key, limit_of
from bench.predictor.processes import Split
from bench.predictor.rows import FloorRow, LimitRow, Rows, Start, Stretch
from bench.predictor.stretches import Stretches, Target, running

Result = TypeVar("Result")


class Campaign:
    """One run of the bench. `tell` gets a line of progress now and then."""

    def __init__(
        self,
        plan: Plan,
        entrants: Sequence[Entrant],
        models: Sequence[str],
        assets: Assets,
        tell: Callable[[str], None],
    ):
        self._plan, self._entrants, self._models, self._assets, self._tell = plan, entrants, models, assets, tell
        self._settings = plan.settings
        self.failures: dict[str, str] = {}
        self._unfit: set[str] = set()
        self.swept: list[Stretch] = []
        self.stretches: list[Stretch] = []
        self.starts: list[Start] = []
        self.floors: list[FloorRow] = []
        self.offline: list[LimitRow] = []

    @property
    def rows(self) -> Rows:
        """What the repetitions gave."""
        return Rows(self.stretches, self.starts, self.floors, [row for row in self.offline if row.repetition])

    def build(self) -> None:
        """Engines of ours are chosen and built at their first load: no start shall have to wait for it. Who answers wrongly
        without a server is out. The floor runs once unmeasured: the first to start reads the libraries from the disk, which
        takes longer and leaves less of them in memory.
        """
        for model in self._models:
            processes.floor(self._assets.model(model))
            for entrant in self._entrants:
                if entrant.is_ours:
                    self._tell(f"{entrant.name} {model}: its engine and its answers")
                    self._guarded(entrant, model, lambda entrant=entrant, model=model: self._build(entrant, model))
        self._unfit = set(self.failures)

    def sweep(self) -> Best:
        """The best point of each entrant, and the best split of each limit, by images per second."""
        best: Best = {}
        for model in self._models:
            for entrant in self._entrants:
                self._sweep_limit(entrant, model, best)
                self._sweep_entrant(entrant, model, best)
        return best

    def repetition(self, number: int, best: Best) -> None:
        """Everything once, at its best point."""
        for model in self._models:
            found = processes.floor(self._assets.model(model))
            self.floors.append(FloorRow(number, model, found.seconds, found.footprint))
            self._tell(f"round {number}  floor {model}  {found.seconds:.2f} s  {found.footprint.pss_mib:.0f} MiB PSS")
            for entrant in self._entrants:
                if key(entrant.name, model) in self._unfit:
                    continue
                if not entrant.is_ours:
                    self._repeat_limit(number, entrant, model, best)
                if point := best.get(key(entrant.name, model)):
                    target = Target(number, entrant, model, point, self._assets)
                    split = best.get(key(limit_of(entrant), model), {}).get("split")
                    self._guarded(entrant, model, lambda target=target, split=split: self._repeat(target, split))

    def _build(self, entrant: Entrant, model: str) -> None:
        with processes.offline(self._assets, model, entrant.engine, entrant.tolerance):
            pass

    def _guarded(self, entrant: Entrant, model: str, work: Callable[[], Result]) -> Result | None:
        """Who fails leaves the others their comparison. Who answers wrongly has no figures at all: a fast wrong answer is
        none.
        """
        name = key(entrant.name, model)
        try:
            return work()
        except BenchError as error:
            self._tell(f"{entrant.name}, {model}: {error}")
            self.failures[name] = str(error).strip().splitlines()[0]
            if isinstance(error, WrongAnswer):
                self._unfit.add(name)
                self.stretches = [row for row in self.stretches if key(row.entrant, row.model) != name]
                self.starts = [row for row in self.starts if key(row.entrant, row.model) != name]
            return None

    def _sweep_limit(self, entrant: Entrant, model: str, best: Best) -> None:
        name = key(limit_of(entrant), model)
        if name in best or key(entrant.name, model) in self._unfit:
            return
        seconds = self._settings.limit_duration_s / 3
        rows = self._guarded(entrant, model, lambda: self._limit(0, entrant, model, self._plan.splits, seconds))
        if rows:
            best[name] = {"split": max(rows, key=lambda row: row.images_per_s).split}

    def _sweep_entrant(self, entrant: Entrant, model: str, best: Best) -> None:
        name = key(entrant.name, model)
        if name in self._unfit:
            return
        if len(entrant.points) == 1:
            best[name] = entrant.points[0]
            return
        highest, failures = 0.0, dict(self.failures)
        for point in entrant.points:
            if name in self._unfit:
                return
            row = self._guarded(entrant, model, lambda point=point: self._sweep_point(entrant, model, point))
            if row and row.measured.load.requests_per_s > highest:
                highest, best[name] = row.measured.load.requests_per_s, point
        if name in best and name not in self._unfit:
            self.failures = failures  # a point of a grid may fail, as long as another works

    def _sweep_point(self, entrant: Entrant, model: str, point: Point) -> Stretch:
        target = Target(0, entrant, model, point, self._assets)
        with running(target) as server:
            stretches = Stretches(target, server, self._settings, self._tell)
            stretches.warm("v1")
            row = stretches.closed("v1", self._plan.most_connections, self._settings.sweep_duration_s)
        self.swept.append(row)
        return row

    def _repeat_limit(self, number: int, entrant: Entrant, model: str, best: Best) -> None:
        name = limit_of(entrant)
        done = any((row.repetition, row.name, row.model) == (number, name, model) for row in self.offline)
        point = best.get(key(name, model))
        if done or point is None:
            return
        splits = [point["split"]]
        if self._plan.one_image not in splits:
            splits.append(self._plan.one_image)
        seconds = self._settings.limit_duration_s
        self._guarded(entrant, model, lambda: self._limit(number, entrant, model, splits, seconds))

    def _limit(
        self, number: int, entrant: Entrant, model: str, splits: Sequence[Split], seconds: float
    ) -> list[LimitRow]:
        """Measured again while others disturb it; of several attempts the least disturbed is kept."""
        rows = []
        with processes.offline(self._assets, model, entrant.engine, entrant.tolerance) as loop:
            for split in splits:
                attempts = [loop.measure(split, seconds)]
                while (
                    attempts[-1]["foreign_cores"] > self._settings.foreign_cores
                    and len(attempts) < self._settings.attempts
                ):
                    attempts.append(loop.measure(split, seconds))
                found = min(attempts, key=lambda attempt: float(attempt["foreign_cores"]))
                rows.append(LimitRow(number, limit_of(entrant), model, **found))
        self.offline += rows
        when = f"round {number}" if number else "sweep"
        for row in rows:
            workers, threads, batch = row.split
            self._tell(
                f"{when}  {row.name} {model}  {workers} x {threads} threads, batch {batch}: "
                f"{row.images_per_s:.1f} images/s, {row.batch_ms:.1f} ms a batch"
            )
        return rows

    def _repeat(self, target: Target, split: Split | None) -> None:
        settings, most = self._settings, self._plan.most_connections
        with running(target) as server:
            idle = footprint(server.members())
            stretches = Stretches(target, server, settings, self._tell)
            rows = []
            with self._limit_beside(target, split) as beside:
                for protocol in server.launch.dialects:
                    stretches.warm(protocol)
                    for connections in self._plan.connections if protocol == "v1" else self._plan.judged:
                        is_long = protocol == "v1" and connections in self._plan.judged
                        seconds = settings.duration_s if is_long else settings.side_duration_s
                        beside(protocol, connections)
                        rows.append(stretches.closed(protocol, connections, seconds))
                        beside(protocol, connections)
            if target.entrant.has_open_loop:
                capacity = next(row for row in rows if row.protocol == "v1" and row.connections == most)
                rate = settings.open_share * capacity.measured.load.requests_per_s
                rows.append(stretches.open("v1", rate, settings.duration_s))
            loaded = footprint(server.members())
        start = Start(target.repetition, target.entrant.name, target.model, round(server.start_s, 3), idle, loaded)
        self.stretches += rows
        self.starts.append(start)
        self._tell(
            f"round {start.repetition}  {start.entrant} {start.model}  cold {start.cold_start_s:.2f} s, "
            f"idle {idle.pss_mib:.0f} MiB PSS, then {loaded.pss_mib:.0f}"
        )

    @contextlib.contextmanager
    def _limit_beside(self, target: Target, split: Split | None) -> Iterator[Callable[[str, int], None]]:
        """Gives what measures the limit of ours once, for the stretch with that protocol and that many connections: the
        machine's own speed changes within minutes. Peers have none beside them.
        """
        entrant, model = target.entrant, target.model
        if split is None or not entrant.is_ours:
            yield lambda protocol, connections: None
            return
        with processes.offline(self._assets, model, entrant.engine, entrant.tolerance) as loop:

            def measure(protocol: str, connections: int) -> None:
                taken = self._plan.one_image if connections == 1 else split
                found = loop.measure(taken, self._settings.beside_duration_s)
                row = LimitRow(target.repetition, limit_of(entrant), model, **found)
                self.offline.append(dataclasses.replace(row, protocol=protocol, connections=connections))
                self._tell(
                    f"round {target.repetition}  {row.name} {model} {row.images_per_s:.1f} images/s, {row.batch_ms:.1f} ms a batch"
                )

            yield measure
