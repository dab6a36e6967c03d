"""What runs a network that was built or opened, and what looks into it. Called by `network.load`.

| runs it                        | looks into it: features, attention                                              |
|--------------------------------|---------------------------------------------------------------------------------|
| torch's own operators          | the same, for nothing                                                           |
| a compiler's or another engine | with `features=on` a second copy in torch's own operators, in float32; else none |

A network without a classifier has nothing but features to give, so there `auto` is as good as `on`.
"""

import copy
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from moorage_predictor.engine import precision
from moorage_predictor.engine.backend import Backend, Unavailable
from moorage_predictor.engine.backends import eager
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.engine.options import EngineOptions
from moorage_predictor.engine.plan import Plan

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import Inspectable

_log = logging.getLogger(__name__)


def kept_beside(options: EngineOptions, num_classes: int) -> bool:
    """Must the network be there in torch's own operators, whatever runs it? One without a classifier has nothing else to give."""
    return options.features == "on" or (options.features == "auto" and not num_classes)


def engines(
    planned: Plan, module: Any, data: DataConfig, options: EngineOptions, opened: Backend | None, num_classes: int
) -> "tuple[Backend, Inspectable | None]":
    """What runs the module, and what looks into it; the module is used up."""
    beside = kept_beside(options, num_classes)
    if opened is None:
        spare = copy.deepcopy(module) if beside and planned.engine == "compile" else None
        backend = _run(planned, module, data)
    else:
        backend, spare = opened, module
    if options.features == "off":
        return backend, None
    torch_own = backend if isinstance(backend, eager.Eager) else None
    if torch_own is None and spare is not None:
        torch_own = eager.Eager(spare, "fp32", precision.device())
    if torch_own is None:
        return backend, None
    from moorage_predictor.engine.inspection import Inspectable

    return backend, Inspectable(torch_own, data.size)


def _run(planned: Plan, module: Any, data: DataConfig) -> Backend:
    """An engine for this module, which is used up."""
    device = precision.device()
    if planned.engine == "compile" and device == "cpu":
        from moorage_predictor.engine.backends import compiled

        try:
            return compiled.make(module, planned.precision, np.zeros((1, *data.input_size), dtype=np.float32))
        except Unavailable as error:
            _log.warning("not compiled: served by torch's own operators", extra={"reason": str(error)})
    kind = planned.precision if planned.engine in ("eager", "compile") else "fp32"
    return eager.make(module, kind, device)
