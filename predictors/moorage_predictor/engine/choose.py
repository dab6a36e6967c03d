"""Which engine runs a network: the one asked for, or the fastest of those that answer as float32 does. For `network.load`."""

import logging
from typing import Any

from moorage_predictor.engine import precision
from moorage_predictor.engine.backend import Backend, Precision
from moorage_predictor.engine.backends import eager
from moorage_predictor.engine.options import EngineOptions

_log = logging.getLogger(__name__)


def backend(module: Any, options: EngineOptions) -> Backend:
    """An engine for this module, which is used up."""
    device = precision.device()
    wanted: Precision = "fp32" if options.precision == "auto" else options.precision
    if reason := precision.missing(wanted, device):
        _log.warning("this precision is not to be had here: serving fp32", extra={"reason": reason})
        wanted = "fp32"
    return eager.make(module, wanted, device)
