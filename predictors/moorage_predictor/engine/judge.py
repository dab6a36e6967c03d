"""How well and how fast an engine answers, beside torch's own float32. Called by `choose.py`."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from moorage_predictor.engine.backend import Backend, Float32s, Precision

AGREEMENT: Final = 0.99
"""Share of the judging images that must get the class which fp32 gives them; the whole photos must all."""
RELATIVE_ERROR: Final = 1e-5
"""Of float32, over the largest logit. A lower precision is judged by its classes."""
_ROWS: Final = 8
_ROUNDS: Final = 3
_LONGEST_S: Final = 4.0


@dataclass(frozen=True)
class Answers:
    """How an engine's answers compare."""

    agreement: float
    error: float
    refusal: str | None
    """Why it may not serve, or None."""


def compare(found: Float32s, expected: Float32s, photos: int, precision: Precision) -> Answers:
    """Judge logits [n, classes]; the first `photos` rows are whole photos."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return Answers(0.0, float("inf"), f"its answers are not finite, or not {list(expected.shape)}")
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    agreement = float(same.mean())
    error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    refusal = None
    if precision == "fp32" and error > RELATIVE_ERROR:
        refusal = f"expected fp32's answers within {RELATIVE_ERROR:g} of the largest, found {error:.2g}"
    elif not same[:photos].all():
        refusal = f"{int((~same[:photos]).sum())} of {photos} photos get another class than in fp32"
    elif agreement < AGREEMENT:
        refusal = f"expected fp32's class for {AGREEMENT:.0%} of {len(same)} images, found {agreement:.1%}"
    return Answers(agreement, error, refusal)


def answers(backend: Backend, images: Float32s, cores: int) -> Float32s:
    """Logits of many images: batches side by side, one core each, as they are served when requests abound."""
    batches = [images[at : at + _ROWS] for at in range(0, len(images), _ROWS)]
    with ThreadPoolExecutor(max_workers=cores, thread_name_prefix="judge") as pool:
        return np.concatenate(list(pool.map(lambda batch: backend.forward(batch, 1), batches)))


def speed(backend: Backend, images: Float32s, cores: int) -> tuple[float, float]:
    """Milliseconds of one image on all cores, and of each image while every core works on a batch of its own.

    The best of a few rounds: whatever disturbs a round makes it longer, never shorter.
    """
    one, batch = np.ascontiguousarray(images[:1]), np.resize(images, (_ROWS, *images.shape[1:]))
    with ThreadPoolExecutor(max_workers=cores, thread_name_prefix="measure") as pool:

        def loaded() -> None:
            for work in [pool.submit(backend.forward, batch, 1) for _ in range(cores)]:
                work.result()

        return _best_ms(lambda: backend.forward(one)), _best_ms(loaded) / (_ROWS * cores)


def _best_ms(call: Callable[[], object]) -> float:
    call()  # compiles, allocates
    until = time.perf_counter() + _LONGEST_S
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        call()
        ended = time.perf_counter()
        best = min(best, 1000 * (ended - started))
        if ended > until:
            break
    return best
