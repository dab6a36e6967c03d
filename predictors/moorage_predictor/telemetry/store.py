"""The numbers behind `/metrics`, as floats by metric and label values. Held by `metrics.Metrics`.

    one process      a list
    several workers  worker 0 counts in FOLDER/0.metrics ──┐
                     worker 1 counts in FOLDER/1.metrics ──┴──> added up by whichever worker is asked

A worker counts straight into memory that is mapped to its file, so that even one that is killed loses nothing. The one that
takes its place goes on in the same file: no counter goes down. The disk has room for whatever is written: to a page for which it
has none, the first write ends the process (SIGBUS). A file, in the machine's own byte order:

    magic (8 bytes) | used bytes (u64) | process id (u64) | 64 floats that nobody reads | blocks
    block: its length (u32) | length of its key (u32) | key as JSON, padded to 8 | floats
"""

import contextlib
import json
import math
import mmap
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from moorage.api import metrics as m

Key = tuple[str, tuple[str, ...]]
"""A metric's name, and the values of its labels."""
Numbers = dict[Key, list[float]]

UNSET: Final = math.nan
"""A gauge that says nothing now."""

_MAGIC: Final = b"moorage1"
_HEADER: Final = struct.Struct("=8sQQ")
_BLOCK: Final = struct.Struct("=II")
_FLOAT: Final = 8
_SINK: Final = 64
"""Floats at the beginning, for what comes when the file is full; no series has more."""
_BLOCKS_AT: Final = _HEADER.size + _SINK * _FLOAT
_BYTES_PER_MODEL: Final = 16 * 1024
_SPARE_BYTES: Final = 256 * 1024
_STEP_BYTES: Final = 64 * 1024
"""What is taken of the disk at a time. The file is sparse beyond."""


class Store:
    """Of a process that is alone."""

    def __init__(self) -> None:
        self.values: Any = []
        """Floats; to be read and written by index."""
        self._places: dict[Key, tuple[int, int]] = {}

    def place(self, metric: m.Metric, labels: tuple[str, ...], size: int = 1) -> int:
        """Where the series' numbers begin in `values`; new ones are zero, of a gauge unset."""
        key = metric.name, labels
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = self._new(key, size, UNSET if metric.kind == "gauge" else 0.0), size
        return found[0]

    def _new(self, key: Key, size: int, value: float) -> int:
        at = len(self.values)
        self.values.extend([value] * size)
        return at

    def forget(self, labels: tuple[str, ...]) -> None:
        """Show no more series whose labels begin with these. Their numbers may still be written to."""
        for key in [key for key in self._places if key[1][: len(labels)] == labels]:
            del self._places[key]

    def numbers(self) -> Numbers:
        """What this process has counted."""
        return {key: list(self.values[at : at + size]) for key, (at, size) in list(self._places.items())}

    def all_numbers(self) -> list[Numbers]:
        """What each live or former worker has counted; of those that ended without their gauges."""
        return [self.numbers()]

    def processes(self) -> list[tuple[str, int]]:
        """Number and process id of each worker that lives."""
        return [("0", os.getpid())]


class SharedStore(Store):
    """Of one of several workers."""

    def __init__(self, folder: Path, worker: int, most_models: int) -> None:
        """`folder` is the workers' own; nobody else counts in this worker's file.

        Raises:
            OSError: there is no room for it.
        """
        super().__init__()
        self._folder = folder
        path = folder / f"{worker}.metrics"
        size = _SPARE_BYTES + most_models * _BYTES_PER_MODEL
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._on_disk = 0
        try:
            self._reserve(_STEP_BYTES)
            os.ftruncate(self._descriptor, size)
            self._map = mmap.mmap(self._descriptor, size)
        except OSError:
            os.close(self._descriptor)
            raise
        whole = memoryview(self._map)
        self.values = whole.cast("d")
        magic, used, _ = _HEADER.unpack_from(self._map)
        self._used = used if magic == _MAGIC else _BLOCKS_AT
        self._on_disk = max(self._on_disk, self._used)
        for key, at, count in _blocks(self._map, self._used):
            self._places[key] = at // _FLOAT, count
            if m.BY_NAME[key[0]].kind == "gauge":
                self.values[at // _FLOAT] = UNSET  # the former worker's
        _HEADER.pack_into(self._map, 0, _MAGIC, self._used, os.getpid())

    def _reserve(self, until: int) -> None:
        """Bytes of the file that may be written."""
        if sys.platform != "darwin":  # has no such call
            os.posix_fallocate(self._descriptor, self._on_disk, until - self._on_disk)
        self._on_disk = until

    def _has_room(self, until: int) -> bool:
        if self._on_disk < until <= len(self._map):
            with contextlib.suppress(OSError):
                self._reserve(min(until + _STEP_BYTES, len(self._map)))
        return until <= self._on_disk

    def _new(self, key: Key, size: int, value: float) -> int:
        name = json.dumps([key[0], *key[1]]).encode()
        head = _BLOCK.size + -(-len(name) // _FLOAT) * _FLOAT
        length = head + size * _FLOAT
        if not self._has_room(self._used + length):
            return _HEADER.size // _FLOAT
        _BLOCK.pack_into(self._map, self._used, length, len(name))
        begin = self._used + _BLOCK.size
        self._map[begin : begin + len(name)] = name
        at = (self._used + head) // _FLOAT
        for index in range(at, at + size):
            self.values[index] = value
        self._used += length
        struct.pack_into("=Q", self._map, len(_MAGIC), self._used)  # last: a block is whole or not there
        return at

    def all_numbers(self) -> list[Numbers]:
        """See `Store`."""
        found = []
        for path in sorted(self._folder.glob("*.metrics")):
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
                magic, used, pid = _HEADER.unpack(head) if len(head) == _HEADER.size else (b"", 0, 0)
                if magic == _MAGIC:
                    content = head + file.read(used - _HEADER.size)
                    found.append(dict(_shown(content, used, alive=is_alive(pid))))
        return found

    def processes(self) -> list[tuple[str, int]]:
        """See `Store`."""
        found = []
        for path in sorted(self._folder.glob("*.metrics")):
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
            if len(head) == _HEADER.size and is_alive(pid := _HEADER.unpack(head)[2]):
                found.append((path.stem, pid))
        return found


def _blocks(content: Any, used: int) -> Iterator[tuple[Key, int, int]]:
    """Key, offset in bytes and number of floats of each block."""
    at = _BLOCKS_AT
    while at < used:
        length, name_bytes = _BLOCK.unpack_from(content, at)
        begin = at + _BLOCK.size
        name, *labels = json.loads(bytes(content[begin : begin + name_bytes]))
        head = _BLOCK.size + -(-name_bytes // _FLOAT) * _FLOAT
        yield (name, tuple(labels)), at + head, (length - head) // _FLOAT
        at += length


def _shown(content: bytes, used: int, *, alive: bool) -> Iterator[tuple[Key, list[float]]]:
    for key, at, count in _blocks(content, used):
        if alive or m.BY_NAME[key[0]].kind != "gauge":
            yield key, list(struct.unpack_from(f"={count}d", content, at))


def is_alive(pid: int) -> bool:
    """Whether there is such a process of ours."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0


_MERGE: Final[dict[str, Callable[[Iterable[float]], float]]] = {"sum": sum, "min": min, "max": max}


def merged(counted: Iterable[Numbers]) -> Numbers:
    """Of several workers as of one; series that say nothing are left out."""
    found: dict[Key, list[list[float]]] = {}
    for numbers in counted:
        for key, values in numbers.items():
            if not math.isnan(values[0]):
                found.setdefault(key, []).append(values)
    return {
        key: [_MERGE[m.BY_NAME[key[0]].merge](column) for column in zip(*rows, strict=True)]
        for key, rows in found.items()
    }
