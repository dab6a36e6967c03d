"""How often somebody calls: rules, who is counted, and where the counts are. Called by `asgi.py` here for HTTP and by the
predictor's gRPC service, once the caller is known.

    request -> asgi.RateLimits -> Limiter.take -> MemoryStore (one process)
                    │                          -> workers.Client (the processes of one pod)
                    │                          -> failure.Guarded(redis_store.RedisWindows) (all replicas)
                    └── Decision: headers, or 429

Nothing is imported here: what is off is not loaded.
"""
