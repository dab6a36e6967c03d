"""The protocols, V1, V2 REST (JSON and binary) and V2 gRPC, through one `kserve.Model`. Only this room imports kserve.

bytes -> http | grpc -> requests (InferRequest) -> model -> tensors | v1 -> the task -> tensors | v1 -> bytes
"""
