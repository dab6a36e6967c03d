"""How the cores are shared out among forward passes: measured at warm-up, because it depends on the network and the CPU.

One pass on all cores answers a lone request soonest. Many passes on one core each get more done when requests abound, on
most CPUs; on some, or with a network that is bound by memory, fewer passes with more threads do. Called by `wire/model.py`.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Forward = Callable[[NDArray[np.float32], int], Any]
"""A batch, and how many cores it may use."""

_BUDGET_S: Final = 3.0
"""For all splits together; a slow network is measured once and not three times."""
_ROUNDS: Final = 5
_LEAST_S: Final = 0.05
"""Of one measurement: a pass of a small network takes 10 ms, and half or double that when somebody else wants the core."""
_WORTH: Final = 1.08
"""Fewer passes with more threads must be better by this much: while the answers of the only pass leave and the next rows come, all
its cores wait. What was equal here served 6 to 9 % more images with a pass on each core (resnet18, fp32, 8 connections)."""


@dataclass(frozen=True)
class Split:
    """What runs at a time when requests abound."""

    workers: int
    """Forward passes at a time."""
    threads: int
    """Cores of each."""
    cores: int
    """Cores in all, which a lone request gets together."""
    rows_per_s: float = 0.0
    """As measured, with batches of `batch` rows; 0 if nothing was."""
    batch: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For logs and the model's config."""
        return {
            "cores": self.cores,
            "forward_workers": self.workers,
            "threads_per_forward": self.threads,
            "measured_batch": self.batch,
            "measured_rows_per_s": round(self.rows_per_s, 1),
        }


def measure(
    forward: Forward,
    row: NDArray[np.float32],
    cores: int,
    batch: int,
    budget_s: float = _BUDGET_S,
    stopped: Callable[[], bool] = lambda: False,
) -> Split:
    """The split with the most rows a second. `row` is one input, [1, ...]; `batch` the rows of one pass. When it is stopped
    it ends with the pass that runs, and gives the split with one core for each pass.
    """
    rows = np.repeat(row, batch, axis=0)
    candidates = [Split(cores // threads, threads, cores) for threads in range(1, cores + 1) if cores % threads == 0]
    if len(candidates) == 1:
        return candidates[0]
    until = time.perf_counter() + budget_s
    measured: dict[Split, list[float]] = {}
    with ThreadPoolExecutor(max_workers=cores, thread_name_prefix="measure") as pool:
        for round_number in range(_ROUNDS):
            for split in candidates:
                if stopped():
                    return candidates[0]
                if round_number and time.perf_counter() > until:
                    break
                measured.setdefault(split, []).append(_rows_per_s(forward, rows, split, pool, stopped))
    best = candidates[0]
    rates = {
        split: max(rates) for split, rates in measured.items()
    }  # who else was at work made some of them slower, none faster
    for split in candidates[1:]:
        if rates[split] > rates[best] * _WORTH:
            best = split
    return Split(best.workers, best.threads, cores, rates[best], batch)


def _rows_per_s(
    forward: Forward, rows: NDArray[np.float32], split: Split, pool: ThreadPoolExecutor, stopped: Callable[[], bool]
) -> float:
    started = time.perf_counter()

    def passes() -> int:
        done = 0
        while not done or (time.perf_counter() - started < _LEAST_S and not stopped()):
            forward(rows, split.threads)
            done += 1
        return done

    found = [work.result() for work in [pool.submit(passes) for _ in range(split.workers)]]
    return sum(found) * len(rows) / (time.perf_counter() - started)
