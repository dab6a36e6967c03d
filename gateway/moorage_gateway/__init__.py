"""The gateway: the front door for applications. Nothing of it is built yet; the package reserves the name.

Until it is, applications talk to the predictor directly (V1, V2 REST, V2 gRPC).
"""

__all__: list[str] = []
