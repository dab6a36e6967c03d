"""The limit: files -> classes in one process without a server, as fast as any split of the cores gives it.

`python -m bench.predictor.offline FOLDER MODEL TOLERANCE ENGINE`, run by `processes.py`. ENGINE are the predictor's settings as
JSON, such as {"precision": "bf16"}, or "plain" for what the peers call. It prints a line once its answers are right, then
answers each line [[workers, threads, batch], seconds] on its standard input with what it measured, as JSON: so many threads,
each with so many of torch's, take the next so many files. Between the lines it waits, so that a server can be measured in turn.
"""

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.predictor import engines
from bench.predictor.judge import Judge

Classes = list[tuple[int, float]]
Answer = Callable[[Sequence[bytes], int], list[Classes]]
"""Files and torch's threads -> the classes of each."""


def plain(model: Path) -> Answer:
    """What every peer calls."""
    import torch
    from bench.models.images.classifier import Classifier

    classifier = Classifier(model)

    def answer(files: Sequence[bytes], threads: int) -> list[Classes]:
        torch.set_num_threads(threads)
        return [[(one["class_id"], one["confidence"]) for one in best] for best in classifier(files)]

    return answer


def ours(model: Path, settings: dict[str, Any]) -> Answer:
    """The predictor's own steps, one after the other."""
    from moorage.api.predictor import PredictorSettings
    from moorage_predictor import loading
    from moorage_predictor.tasks.image_classification import EncodedImages
    from moorage_predictor.tasks.image_classification.classifier import stacked

    chosen = PredictorSettings(**engines.options(model, settings))
    classifier = loading.load(chosen, lambda progress: None, threading.Event())

    def answer(files: Sequence[bytes], threads: int) -> list[Classes]:
        rows = [prepare() for prepare in classifier.rows(EncodedImages(tuple(files)))]
        found = classifier.rank(classifier.forward(stacked(rows), threads))
        pairs = zip(found.class_id.tolist(), found.confidence.tolist(), strict=True)
        return [list(zip(numbers, values, strict=True)) for numbers, values in pairs]

    return answer


def measure(answer: Answer, files: Sequence[bytes], split: Sequence[int], seconds: float) -> dict[str, float]:
    """Images a second, and the median of a worker's time for one batch, ms."""
    workers, threads, batch = split
    lock, turn, taken = threading.Lock(), 0, []

    def work(end: float) -> None:
        nonlocal turn
        while time.perf_counter() < end:
            with lock:
                some = [files[(turn + offset) % len(files)] for offset in range(batch)]
                turn += batch
            before = time.perf_counter()
            answer(some, threads)
            taken.append(time.perf_counter() - before)

    def all_workers(duration: float) -> float:
        started = time.perf_counter()
        some = [threading.Thread(target=work, args=(started + duration,)) for _ in range(workers)]
        for one in some:
            one.start()
        for one in some:
            one.join()
        return time.perf_counter() - started

    all_workers(0.2 * seconds)  # a first call with another shape or another number of threads takes longer
    taken.clear()
    elapsed = all_workers(seconds)
    return {"images_per_s": len(taken) * batch / elapsed, "batch_ms": 1e3 * statistics.median(taken)}


def main() -> None:
    from bench.predictor.weights import reference

    folder, model, tolerance, engine = sys.argv[1:]
    files = [file.read_bytes() for file in sorted(Path(folder, "photos").glob("*.jpg"))]
    answer = plain(Path(folder, model)) if engine == "plain" else ours(Path(folder, model), json.loads(engine))
    judge = Judge(reference(Path(folder, model)), float(tolerance))
    for number, file in enumerate(files):
        if problem := judge.problem(number, answer([file], 1)[0]):
            sys.exit(f"photo {number}: {problem}")
    print("ready", flush=True)
    for line in sys.stdin:
        split, seconds = json.loads(line)
        print(json.dumps({"split": split, **measure(answer, files, split, seconds)}), flush=True)


if __name__ == "__main__":
    main()
