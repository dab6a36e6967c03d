"""Coverage-guided fuzzing of the parsers of bodies and messages: `python -m tests.fuzz.atheris_decode CORPUS [libFuzzer's
options]`. It ends with an error at the first exception that is none of ours.
"""

import contextlib
import sys

import atheris

arguments, sys.argv = sys.argv, sys.argv[:1]  # kserve parses it when it is imported
with atheris.instrument_imports(include=["moorage_predictor.wire"]):
    from google.protobuf.message import DecodeError

    from moorage.api.limits import RequestLimits
    from moorage.api.oip import open_inference_pb2 as pb
    from moorage_predictor.errors import RequestError
    from moorage_predictor.wire import sdk
    from moorage_predictor.wire.decode import infer_request, parse_object, raw_request
    from moorage_predictor.wire.grpc_messages import infer_request as grpc_request

LIMITS = RequestLimits(max_elements=100_000, max_json_values=10_000, max_json_keys=1000)
TYPES = ([{"name": "x", "datatype": "BYTES", "shape": [-1]}], [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}])


def one(data: bytes) -> None:
    """The first two bytes say where the JSON ends."""
    if len(data) < 2:
        return
    stated, body = str(int.from_bytes(data[:2], "little")), data[2:]
    for length in (stated, None):
        with contextlib.suppress(RequestError):
            for tensor in infer_request(body, length, "m", "1", LIMITS).inputs:
                assert tensor.as_numpy().shape == tuple(tensor.shape)
        with contextlib.suppress(RequestError):
            for tensor in infer_request(body, length, "m", "1", LIMITS, sdk.TYPES).inputs:
                _ = tensor.data  # only the SDK's own models ask for it
    with contextlib.suppress(RequestError):
        parse_object(body, LIMITS)
    for types in TYPES:
        with contextlib.suppress(RequestError):
            raw_request(body, types, "m", "1", LIMITS)
    with contextlib.suppress(RequestError, DecodeError):
        for tensor in grpc_request(pb.ModelInferRequest.FromString(body), "1", LIMITS).inputs:
            assert tensor.as_numpy().shape == tuple(tensor.shape)


if __name__ == "__main__":
    atheris.Setup(arguments, one)
    atheris.Fuzz()
