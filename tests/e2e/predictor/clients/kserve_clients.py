"""KServe's own clients: `python -m tests.e2e.predictor.clients.kserve_clients rest|grpc URL_OR_ADDRESS`.

The server is the identity model.
"""

import asyncio
import sys

import grpc
import httpx
import numpy as np
import pytest
from tests.e2e.predictor.clients.checks import DTYPES, SHAPES, edges, filled, run, same

MODEL = "identity"


def imported():
    sys.argv = sys.argv[:1]  # kserve parses it when it is imported
    import kserve

    return kserve


class Rest:
    def __init__(self, kserve, url):
        from kserve.protocol.infer_type import RequestedOutput

        self.kserve, self.url = kserve, url
        self.client = kserve.InferenceRESTClient(kserve.inference_client.RESTConfig(protocol="v2"))
        self.v1 = kserve.InferenceRESTClient(kserve.inference_client.RESTConfig(protocol="v1"))
        self.requested = RequestedOutput

    async def infer(self, arrays, *, binary_in=True, binary_out=None, asked=None, **options):
        inputs = []
        for name, (datatype, array) in arrays.items():
            inputs.append(self.kserve.InferInput(name, list(array.shape), datatype))
            inputs[-1].set_data_from_numpy(array, binary_data=binary_in)
        parameters = None if binary_out is None else {"binary_data_output": binary_out}
        request = self.kserve.InferRequest(MODEL, inputs, parameters=parameters, request_outputs=asked, **options)
        return await self.client.infer(self.url, request, model_name=MODEL)

    async def fails(self, call, text, status):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await call
        error = caught.value
        assert text in str(error), error
        assert error.response.status_code == status, error

    async def check_every_datatype_in_every_mix_of_json_and_binary(self):
        for datatype in DTYPES:
            for binary_in in (False, True):
                for binary_out in (None, False, True):
                    if datatype == "FP16" and not binary_in:
                        continue  # the client itself refuses it
                    array = edges(datatype)
                    answer = await self.infer({"x": (datatype, array)}, binary_in=binary_in, binary_out=binary_out)
                    same(answer.outputs[0].as_numpy(), array)

    async def check_outputs_mixed_by_name(self):
        arrays = {"a": ("FP32", edges("FP32")), "b": ("BYTES", edges("BYTES"))}
        for wanted in ((False, False), (False, True), (True, False), (True, True)):
            asked = [self.requested(name, {"binary_data": binary}) for name, binary in zip("ba", wanted, strict=True)]
            answer = await self.infer(arrays, asked=asked)
            assert [output.name for output in answer.outputs] == ["b", "a"]
            for output in answer.outputs:
                same(output.as_numpy(), arrays[output.name][1])

    async def check_every_shape(self):
        for shape in SHAPES:
            for binary in (False, True):
                array = filled("FP32", shape)
                answer = await self.infer({"x": ("FP32", array)}, binary_in=binary, binary_out=binary)
                same(answer.outputs[0].as_numpy(), array)

    async def check_ids_are_kept(self):
        answer = await self.infer({"x": ("FP32", edges("FP32"))}, request_id="7")
        assert (answer.id, answer.model_name) == ("7", MODEL)

    async def check_v1_predicts_and_explains(self):
        body = {"instances": [[1, 2.5], ["a", None]]}
        assert await self.v1.infer(self.url, body, model_name=MODEL) == {"predictions": body["instances"]}
        assert await self.v1.explain(self.url, MODEL, body) == {"explanations": body["instances"]}

    async def check_the_server_and_the_model_are_ready(self):
        assert await self.client.is_server_live(self.url) is True
        assert await self.client.is_server_ready(self.url) is True
        for client in (self.client, self.v1):
            assert await client.is_model_ready(self.url, MODEL) is True
        assert await self.client.is_model_ready(self.url, "dogs") is False
        await self.fails(self.v1.is_model_ready(self.url, "dogs"), "no model 'dogs' here", 404)

    async def check_errors_are_the_clients_own_with_our_text(self):
        tensor = self.kserve.InferInput("x", [4], "FP32", [1.0, 2.0])
        request = self.kserve.InferRequest(MODEL, [tensor])
        await self.fails(
            self.client.infer(self.url, request, model_name=MODEL), "shape [4] needs 4 elements, found 2", 400
        )
        await self.fails(self.client.infer(self.url, request, model_name="dogs"), "no model 'dogs' here", 404)
        await self.fails(
            self.infer({"x": ("FP32", edges("FP32"))}, asked=[self.requested("y")]),
            "expected some of x, found 'y'",
            400,
        )
        await self.fails(self.v1.infer(self.url, {"instances": 1}, model_name=MODEL), "instances: expected a list", 400)

    async def close(self):
        await self.client.close()
        await self.v1.close()


class Grpc:
    def __init__(self, kserve, address):
        from kserve.protocol.infer_type import RequestedOutput

        self.kserve = kserve
        self.client = kserve.InferenceGRPCClient(address)
        self.requested = RequestedOutput

    async def infer(self, arrays, *, raw=True, **options):
        inputs = []
        for name, (datatype, array) in arrays.items():
            inputs.append(self.kserve.InferInput(name, list(array.shape), datatype))
            inputs[-1].set_data_from_numpy(array, binary_data=raw)
        return await self.client.infer(self.kserve.InferRequest(MODEL, inputs, from_grpc=True, **options))

    async def fails(self, call, text, status):
        with pytest.raises(grpc.RpcError) as caught:
            await call
        error = caught.value
        assert text in error.details(), error
        assert error.code().name == status, error

    async def check_every_datatype_raw_and_typed(self):
        for datatype in DTYPES:
            for raw in (True, False):
                if datatype == "FP16" and not raw:
                    continue  # typed contents have no place for it
                array = edges(datatype)
                answer = await self.infer({"x": (datatype, array)}, raw=raw)
                same(answer.outputs[0].as_numpy(), array)

    async def check_every_shape(self):
        for shape in SHAPES:
            array = filled("FP32", shape)
            same((await self.infer({"x": ("FP32", array)})).outputs[0].as_numpy(), array)

    async def check_ids_outputs_and_parameters(self):
        arrays = {name: ("FP32", edges("FP32")) for name in "abc"}
        answer = await self.infer(
            arrays, request_id="7", request_outputs=[self.requested("c"), self.requested("a")], parameters={"n": 3}
        )
        assert (answer.id, answer.model_name, answer.model_version) == ("7", MODEL, "1")
        assert [output.name for output in answer.outputs] == ["c", "a"]

    async def check_the_server_and_the_model_are_ready(self):
        assert await self.client.is_server_live() is True
        assert await self.client.is_server_ready() is True
        assert await self.client.is_model_ready(MODEL) is True

    async def check_errors_are_the_clients_own_with_our_text(self):
        tensor = self.kserve.InferInput("x", [3], "FP32")
        tensor.set_data_from_numpy(np.zeros(3, np.float32))
        tensor.shape = [4]
        request = self.kserve.InferRequest(MODEL, [tensor], from_grpc=True)
        await self.fails(
            self.client.infer(request), "x: shape [4] of FP32 needs 16 bytes, found 12", "INVALID_ARGUMENT"
        )
        await self.fails(
            self.client.infer(self.kserve.InferRequest("dogs", [tensor], from_grpc=True)),
            "no model 'dogs' here; there is identity",
            "NOT_FOUND",
        )

    async def close(self):
        await self.client.close()


async def main(kind, address):
    checks = {"rest": Rest, "grpc": Grpc}[kind](imported(), address)
    await run(checks)
    await checks.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
