"""Which engine runs a network: each candidate is built, compared with torch's own float32 and timed; the fastest that
answers as float32 does is taken. Runs in a process of its own, `moorage_predictor.optimize`, so that what exporters and
compilers import and allocate is not in the process that serves.

    candidates ─→ build ─→ compare ─→ time ─→ the fastest ─→ engine.json and its files
                    └──────── dropped, and why ───┘
"""

import copy
import errno
import hashlib
import importlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from moorage_predictor.engine import cores, judge, precision
from moorage_predictor.engine.backend import Backend, EngineName, Float32s, Precision, Unavailable
from moorage_predictor.engine.backends import eager
from moorage_predictor.engine.calibration import Calibration
from moorage_predictor.engine.options import EngineOptions
from moorage_predictor.engine.record import FILE_NAME, Candidate, Described, Key, Record, versions_of

_log = logging.getLogger(__name__)

CANDIDATES: Final[tuple[tuple[EngineName, Precision], ...]] = (
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("eager", "bf16"),
    ("eager", "fp16"),
    ("openvino", "fp32"),
    ("onnxruntime", "fp32"),
    ("aot", "bf16"),
    ("aot", "fp32"),
)
"""The most promising first, because time may run out. `compile` is not among them: `aot` is the same code, compiled once."""
BASELINE: Final[tuple[EngineName, Precision]] = ("eager", "fp32")
_BUILD_S: Final = {"openvino": 10.0, "onnxruntime": 20.0, "aot": 60.0, "eager": 1.0}
"""About how long building takes; one that would not be done in time is not begun, because nothing can interrupt it."""
_INT8_PASSES: Final = 5.0
"""Calibrating takes about as long as this many float32 passes over the fitting images."""
_JUDGING_SHARE: Final = 0.15
"""Of the time, for float32's own answers. A slow network is judged by fewer images."""
_FEWEST: Final = 20
_NO_ROOM: Final = os.strerror(errno.ENOSPC)
"""In words: libraries in C++ know no OSError."""
_OF_THE_MACHINE: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""Faults that tomorrow may be gone, and have nothing to do with the engine that met them."""
_ROOM_BYTES: Final = 1 << 20
"""A disk with less is full. Libraries that write files do not always say so, or notice."""

Engines = Callable[[str], Any]
"""Name -> a module of `backends` with `export` and `open_files`."""


def engine_module(name: str) -> Any:
    """The module behind a name."""
    return importlib.import_module(f"moorage_predictor.engine.backends.{name}")


class Chooser:
    """One choice at work. `module` is the network in torch on the CPU; its parts are copied, never changed."""

    def __init__(
        self,
        module: Any,
        options: EngineOptions,
        calibration: Calibration,
        folder: Path,
        *,
        engines: Engines = engine_module,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._module = module
        self._options = options
        self._images = calibration
        self._folder = folder
        self._engines = engines
        self._clock = clock
        self._ends = clock() + options.budget_s
        self._device = precision.device()
        self._baseline = eager.make(copy.deepcopy(module), "fp32", self._device)
        self._cores = cores.available()

    def run(self) -> tuple[Candidate, tuple[Candidate, ...]]:
        """The one that was chosen, whose files lie in the folder, and all of them, the baseline first."""
        started = self._clock()
        self._image_s = self._time_one() / self._cores
        affordable = int(_JUDGING_SHARE * self._options.budget_s / self._image_s)
        self._judging = self._images.judging[: max(_FEWEST, affordable)]
        self._expected = judge.answers(self._baseline, self._judging, self._cores)
        single, loaded = judge.speed(self._baseline, self._judging, self._cores)
        baseline = Candidate(
            engine=BASELINE[0],
            precision=BASELINE[1],
            state="passed",
            ms_single=single,
            ms_loaded=loaded,
            agreement=1.0,
            error=0.0,
            build_s=self._clock() - started,
        )
        judged = [baseline]
        for engine, kind in self._wanted():
            one = self._judge(engine, kind)
            _log.info("engine judged", extra=one.model_dump(exclude_none=True))
            judged.append(one)
        passed = [one for one in judged if one.state == "passed"]
        if self._options.precision not in ("auto", "fp32") or self._options.engine not in (None, "auto"):
            passed = passed[1:] or passed  # asked for by name: float32 in torch is only for when it cannot be had
        best = min(passed, key=lambda one: (one.ms_single or 0.0) * (one.ms_loaded or 0.0))
        chosen = best.model_copy(update={"state": "chosen"})
        for one in judged:
            if one is not best:
                shutil.rmtree(self._folder / _name(one.engine, one.precision), ignore_errors=True)
        return chosen, tuple(chosen if one is best else one for one in judged)

    def _time_one(self) -> float:
        """Seconds of one image in float32 on one core; the first call allocates and does not count."""
        took = []
        for _ in range(3):
            begun = self._clock()
            self._baseline.forward(self._images.judging[:1], 1)
            took.append(self._clock() - begun)
        return max(min(took), 1e-4)

    def _wanted(self) -> list[tuple[EngineName, Precision]]:
        engine, kind = self._options.engine, self._options.precision
        return [
            (name, one)
            for name, one in CANDIDATES
            if engine in (None, "auto", name)
            and kind in ("auto", one)
            and (name == "eager" or self._device == "cpu")
            and not (kind == "auto" and name == "eager" and one == "fp16" and self._device == "cpu")
        ]

    def _judge(self, engine: EngineName, kind: Precision) -> Candidate:
        """Build, compare, time; whatever goes wrong with it is a reason to drop it, and its files, which may have filled the disk."""

        def dropped(reason: str, *, untried: bool = False, **measured: float) -> Candidate:
            if untried and self._disk_is_full:
                reason = f"no room is left on the disk: {reason}"
            shutil.rmtree(self._folder / _name(engine, kind), ignore_errors=True)
            return Candidate(engine=engine, precision=kind, state="dropped", reason=reason, untried=untried, **measured)

        if reason := precision.missing(kind, self._device):
            return dropped(reason)
        left, needed = self._ends - self._clock(), self._estimate(engine, kind)
        if needed > left and self._measuring:
            return dropped(f"no time: {left:.0f} s of the budget are left, and it takes about {needed:.0f}")
        started = self._clock()
        try:
            backend = self._build(engine, kind)
            build_s = self._clock() - started
            found = judge.compare(
                judge.answers(backend, self._judging, self._cores), self._expected, self._images.photos, kind
            )
            if found.refusal and self._barred(kind):
                untried = self._disk_is_full  # then it may have been written in part
                return dropped(
                    found.refusal, untried=untried, agreement=found.agreement, error=found.error, build_s=build_s
                )
            single, loaded = judge.speed(backend, self._judging, self._cores)
        except Unavailable as error:
            return dropped(str(error), untried=self._is_the_machines(error))
        except Exception as error:  # noqa: BLE001 - exporters and compilers raise anything; the others go on
            _log.debug("an engine failed", exc_info=error)
            return dropped(_told(error), untried=self._is_the_machines(error))
        return Candidate(
            engine=engine,
            precision=kind,
            state="passed",
            ms_single=single,
            ms_loaded=loaded,
            agreement=found.agreement,
            error=found.error,
            build_s=build_s,
        )

    @property
    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self._folder).free < _ROOM_BYTES

    def _is_the_machines(self, error: BaseException) -> bool:
        """Whether that failure says nothing about the candidate. Its files are still there."""
        if self._disk_is_full:
            return True
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE):
                return True
            if _NO_ROOM in str(cause):
                return True
            cause = cause.__cause__ or cause.__context__
        return False

    @property
    def _measuring(self) -> bool:
        """Is there a choice to make? What was asked for by name is built however long it takes."""
        return self._options.precision == "auto" or self._options.engine == "auto"

    def _barred(self, kind: Precision) -> bool:
        """Must it answer as float32 does? bf16 and fp16 are served as asked where they are asked for by name."""
        return self._options.precision == "auto" or kind in ("int8", "fp32")

    def _estimate(self, engine: EngineName, kind: Precision) -> float:
        passes = len(self._judging) + (_INT8_PASSES * len(self._images.fitting) if kind == "int8" else 0)
        return _BUILD_S.get(engine, 0.0) + passes * self._image_s

    def _build(self, engine: EngineName, kind: Precision) -> Backend:
        module = copy.deepcopy(self._module)
        if engine == "eager":
            return eager.make(module, kind, self._device)
        folder = self._folder / _name(engine, kind)
        folder.mkdir(parents=True)
        used = self._engines(engine)
        example: Float32s = self._images.judging[:1]
        used.export(module, example, folder, kind, self._images.fitting)
        backend: Backend = used.open_files(folder, kind)
        return backend


def write(
    folder: Path, key: Key, options: EngineOptions, network: Described, calibration: str, judged: tuple[Candidate, ...]
) -> Record:
    """`engine.json` beside the chosen engine's files."""
    chosen = next(one for one in judged if one.state == "chosen")
    record = Record(
        key=key,
        wanted_precision=options.precision,
        wanted_engine=options.engine,
        chosen=chosen,
        versions=versions_of(chosen.engine),
        network=network,
        calibration=calibration,
        candidates=judged,
        files=dict(sorted(_files(folder).items())),
    )
    (folder / FILE_NAME).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _files(folder: Path) -> Mapping[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file.name != FILE_NAME
    }


def _told(error: Exception) -> str:
    """One line; a compiler's many words may have the one that matters anywhere."""
    words = str(error)
    full = [line for line in words.splitlines() if _NO_ROOM in line]
    return f"{type(error).__name__}: {' '.join((full[0] if full else words).split())[:200]}"


def _name(engine: EngineName, kind: Precision) -> str:
    return f"{engine}-{kind}"
