"""What one look gave: `campaign.py` makes these, `summary.py` and the result file take them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.harness.footprint import Footprint
from bench.harness.grid import Point
from bench.harness.meter import Measured


@dataclass(frozen=True)
class Stretch:
    """Load on a server, of the sweep (repetition 0) or of a repetition. `rate_per_s` is that of an open loop, else 0."""

    repetition: int
    entrant: str
    model: str
    point: Point
    protocol: str
    connections: int
    rate_per_s: float
    measured: Measured
    attempts: int
    is_disturbed: bool

    def as_dict(self) -> dict[str, Any]:
        """Flat, for the result file."""
        fields = asdict(self)
        measured = fields.pop("measured")
        load = measured.pop("load")
        return fields | measured | load | {"images_per_s": round(self.measured.load.requests_per_s, 2)}


@dataclass(frozen=True)
class Start:
    """A server from its start to its stop. `idle` is before any load, `loaded` after all of it."""

    repetition: int
    entrant: str
    model: str
    cold_start_s: float
    idle: Footprint
    loaded: Footprint


@dataclass(frozen=True)
class FloorRow:
    """The floor of one repetition."""

    repetition: int
    model: str
    seconds: float
    footprint: Footprint


@dataclass(frozen=True)
class LimitRow:
    """An offline loop, right before or right after a stretch of load. `name` is that of `plan.limit_of`; where it stands alone it
    has no protocol.
    """

    repetition: int
    name: str
    model: str
    split: list[int]
    images_per_s: float
    batch_ms: float
    foreign_cores: float
    protocol: str = ""
    connections: int = 0


@dataclass(frozen=True)
class Rows:
    """Everything that the repetitions gave."""

    stretches: Sequence[Stretch]
    starts: Sequence[Start]
    floors: Sequence[FloorRow]
    limits: Sequence[LimitRow]
