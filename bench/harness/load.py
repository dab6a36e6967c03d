"""What one stretch of load gave, whichever client made it. `http_load.py` and `grpc_load.py` return it; `meter.py`
adds who used the CPU meanwhile.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """Counts and latencies of one stretch; `failed` are answers with a wrong status or none at all."""

    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int
    checked: int
    wrong: int
    first_wrong: str = ""

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def is_valid(self) -> bool:
        """Every answer came with the right status, and of those looked at none was wrong."""
        return self.requests > 0 and self.failed == 0 and self.wrong == 0 and self.checked > 0
