"""tritonclient.grpc or its asyncio twin: `python -m tests.e2e.predictor.clients.triton_grpc sync|aio HOST:PORT LOCKED`.

The server is the identity model, with its control endpoints; LOCKED is one without them.
"""

import asyncio
import sys

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tests.e2e.predictor.clients.checks import DTYPES, SHAPES, edges, filled, maybe, run, same
from tests.e2e.predictor.clients.triton_http import LateCalls
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

MODEL = "identity"


class Checks:
    def __init__(self, client, locked):
        self.client = client
        self.locked = locked

    async def infer(self, arrays, **options):
        inputs = []
        for name, (datatype, array) in arrays.items():
            inputs.append(InferInput(name, list(array.shape), datatype))
            inputs[-1].set_data_from_numpy(array)
        return await self.client.infer(MODEL, inputs, **options)

    async def fails(self, call, text, status):
        with pytest.raises(InferenceServerException) as caught:
            await call
        error = caught.value
        assert text in error.message(), error
        assert error.status() == f"StatusCode.{status}", error

    async def check_every_datatype(self):
        for datatype in DTYPES:
            array = edges(datatype)
            same((await self.infer({"x": (datatype, array)})).as_numpy("x"), array)
        arrays = {datatype: (datatype, edges(datatype)) for datatype in DTYPES}
        answer = await self.infer(arrays)
        for name, (_, array) in arrays.items():
            same(answer.as_numpy(name), array)

    async def check_values_that_json_could_not_carry(self):
        for datatype, values in (("FP32", [np.nan, np.inf, -0.0]), ("BYTES", [b"\xff\xfe", b"\x00"])):
            array = np.array(values, DTYPES[datatype])
            same((await self.infer({"x": (datatype, array)})).as_numpy("x"), array)

    async def check_every_shape(self):
        for shape in SHAPES:
            for datatype in ("FP32", "BYTES", "BOOL"):
                array = filled(datatype, shape)
                same((await self.infer({"x": (datatype, array)})).as_numpy("x"), array)

    async def check_outputs_ids_versions_and_parameters(self):
        arrays = {name: ("FP32", edges("FP32")) for name in "abc"}
        answer = await self.infer(
            arrays,
            outputs=[InferRequestedOutput("c"), InferRequestedOutput("a")],
            request_id="7",
            model_version="1",
            parameters={"colour": "red", "n": 3, "x": 0.5, "y": True},
        )
        response = answer.get_response()
        assert [output.name for output in response.outputs] == ["c", "a"]
        assert (response.id, response.model_name, response.model_version) == ("7", MODEL, "1")

    async def check_messages_compressed(self):
        array = np.zeros(50_000, np.float32)
        for algorithm in (None, "gzip", "deflate"):
            same((await self.infer({"x": ("FP32", array)}, compression_algorithm=algorithm)).as_numpy("x"), array)

    async def check_a_large_tensor(self):
        array = np.arange(2_000_000, dtype=np.float32).reshape(2, 1000, 1000)
        same((await self.infer({"x": ("FP32", array)})).as_numpy("x"), array)

    async def check_classification(self):
        array = np.array([[0.25, 0.5, 0.125], [3, 1, 2]], np.float32)
        outputs = [InferRequestedOutput("x", class_count=2)]
        found = (await self.infer({"x": ("FP32", array)}, outputs=outputs)).as_numpy("x")
        assert found.tolist() == [[b"0.500000:1", b"0.250000:0"], [b"3.000000:0", b"2.000000:2"]], found

    async def check_the_server_and_the_model_say_what_they_are(self):
        client = self.client
        assert await client.is_server_live() is True
        assert await client.is_server_ready() is True
        assert await client.is_model_ready(MODEL) is True
        assert await client.is_model_ready(MODEL, "1") is True
        server = await client.get_server_metadata(as_json=True)
        assert server["name"] == "moorage"
        assert "statistics" in server["extensions"]
        model = await client.get_model_metadata(MODEL, as_json=True)
        assert (model["name"], model["versions"]) == (MODEL, ["1"])
        config = await client.get_model_config(MODEL, "1", as_json=True)
        assert config["config"]["name"] == MODEL

    async def check_statistics_count(self):
        async def count():
            found = await self.client.get_inference_statistics(MODEL)
            return found.model_stats[0].inference_count

        before = await count()
        await self.infer({"x": ("FP32", np.zeros((3, 2), np.float32))})
        assert await count() == before + 3
        assert (await self.client.get_inference_statistics()).model_stats[0].name == MODEL

    async def check_trace_settings_are_shown_and_changed(self):
        def plain(answer):
            return {name: list(value.value) for name, value in answer.settings.items()}

        client = self.client
        changed = plain(
            await client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "500"})
        )
        assert (changed["trace_level"], changed["trace_rate"]) == (["TIMESTAMPS"], ["500"])
        own = plain(await client.update_trace_settings(MODEL, settings={"trace_rate": "600"}))
        assert own["trace_rate"] == ["600"]
        assert plain(await client.get_trace_settings())["trace_rate"] == ["500"]
        assert plain(await client.get_trace_settings(MODEL))["trace_rate"] == ["600"]
        for model in (MODEL, None):
            back = plain(await client.update_trace_settings(model, {"trace_level": None, "trace_rate": None}))
            assert (back["trace_level"], back["trace_rate"]) == (["OFF"], ["1000"])
        await self.fails(
            client.update_trace_settings(settings={"trace_file": "/x"}), "trace_file: cannot be", "INVALID_ARGUMENT"
        )

    async def check_log_settings_are_shown_and_changed(self):
        before = await self.client.get_log_settings()
        changed = await self.client.update_log_settings({"log_verbose_level": 1})
        assert changed.settings["log_verbose_level"].uint32_param == 1
        back = await self.client.update_log_settings({"log_verbose_level": 0, "log_info": True})
        assert back == before, (back, before)
        await self.fails(
            self.client.update_log_settings({"log_file": "/x"}), "log_file: cannot be changed", "INVALID_ARGUMENT"
        )

    async def check_a_model_is_listed_unloaded_and_loaded(self):
        client = self.client
        (row,) = (await client.get_model_repository_index()).models
        assert (row.name, row.state) == (MODEL, "READY")
        await client.unload_model(MODEL)
        (row,) = (await client.get_model_repository_index()).models
        assert (row.state, row.reason) == ("UNAVAILABLE", "unloaded")
        await self.fails(self.infer({"x": ("FP32", edges("FP32"))}), "is not loaded: unloaded", "NOT_FOUND")
        await client.load_model(MODEL)
        assert await client.is_model_ready(MODEL) is True
        same((await self.infer({"x": ("FP32", edges("FP32"))})).as_numpy("x"), edges("FP32"))

    async def check_errors_are_the_clients_own_with_our_text(self):
        client, tensor = self.client, InferInput("x", [3], "FP32")
        tensor.set_data_from_numpy(np.zeros(3, np.float32))
        await self.fails(client.infer("dogs", [tensor]), "no model 'dogs' here; there is identity", "NOT_FOUND")
        await self.fails(client.infer(MODEL, [tensor], "2"), "has no version '2'; it has 1", "NOT_FOUND")
        await self.fails(client.is_model_ready("dogs"), "no model 'dogs' here", "NOT_FOUND")
        await self.fails(client.get_model_metadata("dogs"), "no model 'dogs' here", "NOT_FOUND")
        await self.fails(
            client.infer(MODEL, [tensor], outputs=[InferRequestedOutput("y")]),
            "expected some of x, found 'y'",
            "INVALID_ARGUMENT",
        )
        await self.fails(client.infer(MODEL, [tensor, tensor]), "inputs: 'x' is there twice", "INVALID_ARGUMENT")
        tensor.set_shape([4])
        await self.fails(client.infer(MODEL, [tensor]), "x: shape [4] of FP32 needs 16 bytes", "INVALID_ARGUMENT")
        await self.fails(client.load_model("dogs"), "no model 'dogs' here", "NOT_FOUND")

    async def check_control_is_refused_where_it_is_off(self):
        for call in (
            self.locked.load_model(MODEL),
            self.locked.unload_model(MODEL),
            self.locked.update_trace_settings(settings={"trace_rate": "5"}),
            self.locked.update_log_settings({"log_info": True}),
        ):
            await self.fails(call, "--control-endpoints=true", "PERMISSION_DENIED")
        assert await self.locked.is_model_ready(MODEL) is True


async def main(kind, address, locked):
    module = {"sync": tritonclient.grpc, "aio": tritonclient.grpc.aio}[kind]
    clients = [module.InferenceServerClient(each) for each in (address, locked)]
    await run(Checks(*map(LateCalls, clients)))
    for client in clients:
        await maybe(client.close())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
