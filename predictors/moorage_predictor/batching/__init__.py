"""Requests of many callers in one forward pass, without ever mixing them up: `Batcher`. Knows no protocol and no model."""

from moorage_predictor.batching.queue import DEFAULT_PRIORITY, LAST_PRIORITY, Aside, Batcher, BatchLimits, Observe
from moorage_predictor.batching.together import all_of

__all__ = ["DEFAULT_PRIORITY", "LAST_PRIORITY", "Aside", "BatchLimits", "Batcher", "Observe", "all_of"]
