"""How often somebody calls: rules, who is counted, and where the counts are. Called by `asgi.py` here for HTTP and by the
predictor's gRPC service, once the caller is known.

    request -> asgi.RateLimits -> Limiter.take -> MemoryStore (one process)
                    │                          -> workers.Client (the processes of one pod)
                    │                          -> failure.Guarded(redis_store.RedisWindows) (all replicas)
                    └── Decision: headers, or 429

Nothing of it is imported here: what is off is not loaded.
"""

from typing import Final

COUNT_BATCH: Final = "moorage.count_batch"
"""In the ASGI scope of a prediction, where a rule speaks of batches: to be awaited once the body is known to have several
rows. It raises an `AccessError` for the caller to be answered with."""
