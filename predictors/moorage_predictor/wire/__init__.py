"""The protocols, V1, V2 REST (JSON and binary) and V2 gRPC, to one model. Only `sdk.py` imports kserve, for its models.

bytes -> http | grpc -> requests (InferRequest) -> model -> tensors | v1 -> the task -> tensors | v1 -> bytes
"""
