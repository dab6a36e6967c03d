"""The Open Inference Protocol's gRPC messages, for the predictor's `wire/` and for `moor conformance`.

Needs protobuf, which the base install has not: import it where it is used.
"""

from typing import Final

SERVICE: Final = "inference.GRPCInferenceService"
"""As in the path of a call: `/inference.GRPCInferenceService/ModelInfer`."""
