"""How often somebody calls: rules, who is counted, and where the counts are. Called by `asgi.py` here for HTTP and by the
predictor's gRPC service, once the caller is known.

    request -> asgi.RateLimits -> Limiter.take -> MemoryStore (one process)
                    │                          -> workers.Client (the processes of one pod)
                    │                          -> failure.Guarded(redis_store.RedisWindows) (all replicas)
                    └── Decision: headers, or 429

Nothing of it is imported here: what is off is not loaded.
"""

from typing import Final

ADDED: Final = "moorage.added_headers"
"""In the ASGI scope, if an outer layer put it there: a list of headers that it adds to the answer. `RateLimits` then wraps nothing
around `send`."""
PEER: Final = "x-moorage-peer"
"""Metadata of a call over gRPC, from the door of the native server; see `addresses.host_of_call`."""
COUNT_BATCH: Final = "moorage.count_batch"
"""In the ASGI scope of a prediction, where a rule speaks of batches: to be awaited once the body is known to have several
rows. It raises an `AccessError` for the caller to be answered with."""
