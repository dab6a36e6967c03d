"""Counts and times of one model version, as Triton's statistics extension names them. Filled by `repository.py`.

Since the process began; in nanoseconds. A request that shares no batch is an execution of its own.
"""

import time
from typing import Any, Final

_MAX_BATCH_SIZES: Final = 128
"""So many different numbers of rows are told apart; callers choose them."""


class Duration:
    """How often, and how long together."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = 0
        self.ns = 0

    def add(self, ns: int) -> None:
        """One more."""
        self.count += 1
        self.ns += ns

    def as_dict(self) -> dict[str, int]:
        """As in the answer."""
        return {"count": self.count, "ns": self.ns}


class Statistics:
    """Of one model version. Only the event loop writes."""

    __slots__ = (
        "_batches",
        "batched",
        "compute_infer",
        "compute_input",
        "compute_output",
        "executions",
        "fail",
        "inference_count",
        "last_ms",
        "queue",
        "success",
    )

    def __init__(self) -> None:
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.compute_input = Duration()
        self.compute_infer = Duration()
        self.compute_output = Duration()
        self._batches: dict[int, tuple[Duration, Duration, Duration]] = {}
        self.executions = 0
        self.batched = False
        """Whether `executed` tells of every batch; else a request is an execution."""
        self.inference_count = 0
        self.last_ms = 0

    def succeeded(self, started: int, parsed: int, inferred: int, encoded: int, rows: int) -> None:
        """One request is answered; the moments are of `time.perf_counter_ns()`."""
        self.last_ms = time.time_ns() // 1_000_000
        self.success.add(encoded - started)
        self.queue.count += 1
        self.compute_input.add(parsed - started)
        self.compute_infer.add(inferred - parsed)
        self.compute_output.add(encoded - inferred)
        self.inference_count += rows
        self.executions += not self.batched
        batch = self._batches.get(rows)
        if batch is None:
            if len(self._batches) >= _MAX_BATCH_SIZES:
                return
            batch = self._batches[rows] = (Duration(), Duration(), Duration())
        batch[0].add(parsed - started)
        batch[1].add(inferred - parsed)
        batch[2].add(encoded - inferred)

    def executed(self, rows: int, waited_s: float, run_s: float, requests: int) -> None:
        """One batch is done. Its requests are told one by one as well, with their wait as a part of inferring."""
        self.executions += 1
        self.queue.ns += round(waited_s * 1e9)

    def failed(self, ns: int) -> None:
        """One request got an error."""
        self.fail.add(ns)

    def as_dict(self, name: str, version: str) -> dict[str, Any]:
        """One element of `model_stats`."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.inference_count,
            "execution_count": self.executions,
            "inference_stats": {
                "success": self.success.as_dict(),
                "fail": self.fail.as_dict(),
                "queue": self.queue.as_dict(),
                "compute_input": self.compute_input.as_dict(),
                "compute_infer": {
                    "count": self.compute_infer.count,
                    "ns": max(0, self.compute_infer.ns - self.queue.ns),
                },
                "compute_output": self.compute_output.as_dict(),
                "cache_hit": {"count": 0, "ns": 0},
                "cache_miss": {"count": 0, "ns": 0},
            },
            "batch_stats": [
                {
                    "batch_size": rows,
                    "compute_input": batch[0].as_dict(),
                    "compute_infer": batch[1].as_dict(),
                    "compute_output": batch[2].as_dict(),
                }
                for rows, batch in sorted(self._batches.items())
            ],
        }
