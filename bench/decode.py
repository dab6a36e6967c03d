"""JPEG file -> normalised float32 [3, 224, 224], ours beside plain Pillow, in one thread: `make bench-decode`.

"Plain Pillow" is what a careful person writes without us: open, convert, resize, crop, and the normalisation as one
multiplication and one addition in numpy. Times are the thread's CPU time, so neighbours disturb them little; the two take
turns, and each figure is a median. The pictures are made of the photos of tests/data/photos, in JPEG of quality 90, 4:2:0;
larger ones are tiled and not blown up, because smooth pixels would cost a decoder less than a camera's do.
"""

import io
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.tasks.image_classification.prepare import Prepare

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "tests" / "data" / "photos"
TILE = (640, 480)
SIZES = ((500, 375), (640, 480), (800, 600), (1024, 768), (1280, 720), (1600, 1200), (1920, 1080), (4032, 3024))
"""Of ImageNet's typical photo, of the web's, and of cameras from VGA to 12 megapixels."""
CONFIGS = {
    "bilinear 0.875": DataConfig(
        input_size=(3, 224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bilinear",
        crop_pct=0.875,
    ),
    "bicubic 0.9": DataConfig(
        input_size=(3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.9
    ),
    "bicubic 0.95": DataConfig(
        input_size=(3, 224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bicubic",
        crop_pct=0.95,
    ),
    "bicubic 1.0": DataConfig(
        input_size=(3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0
    ),
}
"""resnet18's, and the three that vision transformers have."""
MAX_SIDE = 8192
RUNS = 15
SECONDS = float(os.environ.get("MOORAGE_BENCH_S", "1.0"))
"""For one row of the table at most, once it has five of each."""

Prepared = NDArray[np.float32]


def picture(width: int, height: int) -> bytes:
    """A JPEG of that size."""
    tiles = []
    for name in ("coffee.png", "chelsea.png", "rocket.jpg"):
        with Image.open(PHOTOS / name) as photo:
            tiles.append(photo.convert("RGB").resize(TILE, Image.Resampling.LANCZOS))
    if width <= TILE[0] and height <= TILE[1]:
        whole = tiles[0].resize((width, height), Image.Resampling.LANCZOS)
    else:
        whole = Image.new("RGB", (width, height))
        columns = -(-width // TILE[0])
        for number in range(columns * -(-height // TILE[1])):
            row, column = divmod(number, columns)
            whole.paste(tiles[number % len(tiles)], (column * TILE[0], row * TILE[1]))
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=90, subsampling="4:2:0")
    return stream.getvalue()


def plain_pillow(config: DataConfig) -> Callable[[bytes], Prepared]:
    """The same transform without anything of ours."""
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[config.interpolation]
    size = config.size[0]
    shortest = int(size / config.crop_pct)
    scale = (1 / (255 * np.array(config.std))).astype(np.float32).reshape(3, 1, 1)
    shift = (-np.array(config.mean) / config.std).astype(np.float32).reshape(3, 1, 1)

    def prepare(data: bytes) -> Prepared:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
        factor = shortest / min(image.size)
        image = image.resize((int(image.width * factor), int(image.height * factor)), resampling)
        left, top = round((image.width - size) / 2), round((image.height - size) / 2)
        pixels = np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
        row = pixels.astype(np.float32, order="C")
        np.multiply(row, scale, out=row)
        return np.add(row, shift, out=row)

    return prepare


def milliseconds(*calls: Callable[[], Prepared]) -> list[float]:
    """Medians of CPU time; the calls take turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    ended = time.perf_counter() + SECONDS
    while len(taken[0]) < 5 or (len(taken[0]) < RUNS and time.perf_counter() < ended):
        for call, times in zip(calls, taken, strict=True):
            started = time.thread_time()
            call()
            times.append(1000 * (time.thread_time() - started))
    return [statistics.median(times) for times in taken]


def two_threads(prepare: Callable[[], Prepared]) -> float:
    """How many times the pictures of one thread two of them prepare, by the clock: 2 where they never wait."""

    def rate(threads: int) -> float:
        count = 60
        workers = [threading.Thread(target=lambda: [prepare() for _ in range(count)]) for _ in range(threads)]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return threads * count / (time.perf_counter() - started)

    rates = [(rate(1), rate(2)) for _ in range(5)]
    return statistics.median(two / one for one, two in rates)


def main() -> None:
    """The table, and the worst ratio of it as the last line."""
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"Pillow {Image.__version__}, simplejpeg {simplejpeg.__version__}; median of at most {RUNS}, one thread\n"
    )
    print("| picture | KB | transform | Pillow, ms | ours, ms | ratio | largest difference, of 255 | mean |")
    print("|---|---|---|---|---|---|---|---|")
    worst = float("inf")
    for width, height in SIZES:
        data = picture(width, height)
        for name, config in CONFIGS.items():
            prepare, pillow = Prepare(config, max_bytes=len(data), max_side=MAX_SIDE), plain_pillow(config)
            out = np.empty((3, *config.size), dtype=np.float32)
            ours, theirs = milliseconds(
                partial(prepare.file, data, name="photo", out=out),
                partial(pillow, data),
            )
            away = 255 * np.abs((out - pillow(data)) * np.array(config.std).reshape(3, 1, 1))
            worst = min(worst, theirs / ours)
            print(
                f"| {width}x{height} | {len(data) // 1000} | {name} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.2f} "
                f"| {away.max():.0f} | {away.mean():.3f} |"
            )
            sys.stdout.flush()
    prepare, data = Prepare(CONFIGS["bilinear 0.875"], max_bytes=1 << 20, max_side=MAX_SIDE), picture(640, 480)
    print(f"\ntwo threads instead of one, 640x480: {two_threads(partial(prepare.file, data, name='photo')):.2f} times")
    print(f"RESULT decode_vs_pillow={worst:.2f}")


if __name__ == "__main__":
    main()
