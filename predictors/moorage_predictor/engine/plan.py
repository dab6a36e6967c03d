"""How these weights are to be run here: read from an artifact, chosen now, or as the options say. For `network.load`."""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from moorage_predictor.engine import precision
from moorage_predictor.engine.backend import Precision, Unavailable
from moorage_predictor.engine.files import ENGINE_RECORD, is_missing, sha256_of
from moorage_predictor.engine.options import EngineOptions
from moorage_predictor.errors import LoadFailed

if TYPE_CHECKING:
    from moorage_predictor.engine.artifacts import Artifact
    from moorage_predictor.engine.record import Key

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """An engine and a precision, and the artifact that holds them ready, if there is one."""

    engine: str = "eager"
    precision: Precision = "fp32"
    artifact: "Artifact | None" = None
    told: dict[str, str] = field(default_factory=dict)
    """Why, for the log and the model's configuration."""


def make(
    weights: Path, architecture: str | None, sha256: str | None, options: EngineOptions, cancelled: threading.Event
) -> Plan:
    """The plan. It is torch's own float32 wherever what was asked for cannot be had; then the log says why.

    Raises:
        LoadFailed: the weights cannot be read, or the process is stopping.
    """
    if not options.needs_choice and (options.engine or is_missing(weights.parent / ENGINE_RECORD)):
        return _stated(options)
    from moorage_predictor.engine import artifacts  # a tenth of a second that most starts need not spend
    from moorage_predictor.engine.record import key_of

    key = key_of(weights, sha256 or sha256_of(weights), architecture)
    artifact = artifacts.beside(weights, key, options, pinned=sha256 is not None)
    if artifact is None and not options.needs_choice:
        return _stated(options)
    artifact = artifact or _cached_or_chosen_now(weights, key, options, cancelled)
    if artifact is None:
        return Plan(told={"engine_dropped": "nothing could be chosen, see the log"})
    chosen, told = artifact.record.chosen, artifact.record.describe()
    _log.info("engine", extra={"engine": chosen.engine, "precision": chosen.precision, **told})
    return Plan(chosen.engine, chosen.precision, artifact, told)


def _stated(options: EngineOptions) -> Plan:
    """Without any measuring; `needs_choice` is False, so both are names."""
    engine = options.engine or "eager"
    kind: Precision = "fp32" if options.precision == "auto" else options.precision
    if kind != "fp32" and (reason := precision.missing(kind, precision.device())):
        _log.warning("served in fp32", extra={"asked_for": kind, "reason": reason})
        return Plan(told={"engine_dropped": f"{engine} {kind}: {reason}"})
    return Plan(engine, kind)


def _cached_or_chosen_now(
    weights: Path, key: "Key", options: EngineOptions, cancelled: threading.Event
) -> "Artifact | None":
    from moorage_predictor.engine import artifacts

    try:
        before = artifacts.cached(key, options)
        if options.choose is None or (before and not before.record.provisional):
            return before
        with artifacts.filling_cache(key, options) as folder:
            # Another process may have held the lock because it was choosing too.
            artifact = artifacts.cached(key, options)
            if artifact and artifact != before:
                return artifact
            options.choose(weights, folder, cancelled)
        return artifacts.cached(key, options)
    except (OSError, Unavailable) as error:
        if cancelled.is_set():
            raise LoadFailed(weights, "loading was cancelled") from error
        _log.warning("no engine could be chosen: served in fp32", extra={"reason": str(error)})
        return None
