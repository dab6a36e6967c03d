"""tritonclient.http or its asyncio twin: `python -m tests.e2e.predictor.clients.triton_http sync|aio HOST:PORT LOCKED`.

The server is the identity model, with its control endpoints; LOCKED is one without them.
"""

import asyncio
import sys

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tests.e2e.predictor.clients.checks import DTYPES, SHAPES, edges, filled, maybe, run, same
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

MODEL = "identity"


class Checks:
    def __init__(self, client, locked):
        self.client = client
        self.locked = locked

    async def infer(self, arrays, *, binary_in=True, binary_out=True, **options):
        """name -> (datatype, array); `binary_*` are one for all or a list."""
        inputs, outputs = [], []
        for index, (name, (datatype, array)) in enumerate(arrays.items()):
            inputs.append(InferInput(name, list(array.shape), datatype))
            own = binary_in if isinstance(binary_in, bool) else binary_in[index]
            inputs[-1].set_data_from_numpy(array, binary_data=own)
            own = binary_out if isinstance(binary_out, bool) else binary_out[index]
            outputs.append(InferRequestedOutput(name, binary_data=own))
        options.setdefault("outputs", outputs)
        return await maybe(self.client.infer(MODEL, inputs, **options))

    async def fails(self, call, text, status):
        with pytest.raises(InferenceServerException) as caught:
            await maybe(call)
        error = caught.value
        assert text in error.message(), error
        assert error.status() == status, error

    async def check_every_datatype_in_every_mix_of_json_and_binary(self):
        for datatype in DTYPES:
            for binary_in in (False, True):
                for binary_out in (False, True):
                    array = edges(datatype)
                    answer = await self.infer({"x": (datatype, array)}, binary_in=binary_in, binary_out=binary_out)
                    same(answer.as_numpy("x"), array)

    async def check_two_tensors_in_every_mix(self):
        arrays = {"a": ("FP32", edges("FP32")), "b": ("BYTES", edges("BYTES")), "c": ("INT64", edges("INT64"))}
        for mask in range(64):
            bits = [bool(mask >> bit & 1) for bit in range(6)]
            answer = await self.infer(arrays, binary_in=bits[:3], binary_out=bits[3:])
            for name, (_, array) in arrays.items():
                same(answer.as_numpy(name), array)

    async def check_every_shape(self):
        for shape in SHAPES:
            for datatype in ("FP32", "BYTES", "BOOL"):
                for binary in (False, True):
                    array = filled(datatype, shape)
                    answer = await self.infer({"x": (datatype, array)}, binary_in=binary, binary_out=binary)
                    same(answer.as_numpy("x"), array)

    async def check_values_that_json_cannot_carry_go_in_binary(self):
        odd = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
        same((await self.infer({"x": ("FP32", odd)})).as_numpy("x"), odd)
        raw = np.array([b"\xff\xfe", b"\x00"], object)
        same((await self.infer({"x": ("BYTES", raw)})).as_numpy("x"), raw)
        for datatype, array in (("FP32", odd), ("BYTES", raw)):
            await self.fails(
                self.infer({"x": (datatype, array)}, binary_out=False), "ask for it with binary_data: true", "400"
            )

    async def check_without_named_outputs_all_come(self):
        arrays = {"a": ("FP32", edges("FP32")), "b": ("INT8", edges("INT8"))}
        answer = await self.infer(arrays, outputs=None)
        for name, (_, array) in arrays.items():
            same(answer.as_numpy(name), array)

    async def check_only_named_outputs_come_in_their_order(self):
        arrays = {name: ("FP32", edges("FP32")) for name in "abc"}
        outputs = [InferRequestedOutput("c"), InferRequestedOutput("a", binary_data=False)]
        answer = (await self.infer(arrays, outputs=outputs)).get_response()
        assert [output["name"] for output in answer["outputs"]] == ["c", "a"]

    async def check_ids_versions_and_parameters(self):
        answer = await self.infer(
            {"x": ("FP32", edges("FP32"))}, request_id="7", model_version="1", parameters={"colour": "red", "n": 3}
        )
        response = answer.get_response()
        assert (response["id"], response["model_name"], response["model_version"]) == ("7", MODEL, "1")

    async def check_bodies_and_answers_compressed(self):
        array = np.zeros(50_000, np.float32)
        for request in (None, "gzip", "deflate"):
            for response in (None, "gzip", "deflate"):
                for binary in (False, True):
                    answer = await self.infer(
                        {"x": ("FP32", array)},
                        binary_in=binary,
                        binary_out=binary,
                        request_compression_algorithm=request,
                        response_compression_algorithm=response,
                    )
                    same(answer.as_numpy("x"), array)

    async def check_a_large_tensor(self):
        array = np.arange(2_000_000, dtype=np.float32).reshape(2, 1000, 1000)
        same((await self.infer({"x": ("FP32", array)})).as_numpy("x"), array)

    async def check_classification(self):
        array = np.array([[0.25, 0.5, 0.125], [3, 1, 2]], np.float32)
        for binary in (False, True):
            outputs = [InferRequestedOutput("x", binary_data=binary, class_count=2)]
            found = (await self.infer({"x": ("FP32", array)}, outputs=outputs)).as_numpy("x")
            texts = [[item if isinstance(item, str) else item.decode() for item in row] for row in found]
            assert texts == [["0.500000:1", "0.250000:0"], ["3.000000:0", "2.000000:2"]], texts

    async def check_the_server_and_the_model_say_what_they_are(self):
        client = self.client
        assert await maybe(client.is_server_live()) is True
        assert await maybe(client.is_server_ready()) is True
        assert await maybe(client.is_model_ready(MODEL)) is True
        assert await maybe(client.is_model_ready(MODEL, "1")) is True
        assert await maybe(client.is_model_ready("dogs")) is False
        server = await maybe(client.get_server_metadata())
        assert server["name"] == "moorage"
        assert "binary_tensor_data" in server["extensions"]
        model = await maybe(client.get_model_metadata(MODEL))
        assert (model["name"], model["versions"]) == (MODEL, ["1"])
        assert (await maybe(client.get_model_metadata(MODEL, "1")))["name"] == MODEL
        config = await maybe(client.get_model_config(MODEL))
        assert (config["name"], config["max_batch_size"]) == (MODEL, 0)

    async def check_statistics_count(self):
        async def count():
            found = await maybe(self.client.get_inference_statistics(MODEL))
            return found["model_stats"][0]["inference_count"]

        before = await count()
        await self.infer({"x": ("FP32", np.zeros((3, 2), np.float32))})
        assert await count() == before + 3
        assert (await maybe(self.client.get_inference_statistics()))["model_stats"][0]["name"] == MODEL

    async def check_trace_settings_are_shown_and_changed(self):
        client = self.client
        changed = await maybe(
            client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "500"})
        )
        assert (changed["trace_level"], changed["trace_rate"]) == (["TIMESTAMPS"], "500")
        own = await maybe(client.update_trace_settings(MODEL, settings={"trace_rate": "600"}))
        assert own["trace_rate"] == "600"
        assert (await maybe(client.get_trace_settings()))["trace_rate"] == "500"
        assert (await maybe(client.get_trace_settings(MODEL)))["trace_rate"] == "600"
        for model in (MODEL, None):
            back = await maybe(client.update_trace_settings(model, {"trace_level": None, "trace_rate": None}))
            assert (back["trace_level"], back["trace_rate"]) == (["OFF"], "1000")
        await self.fails(client.update_trace_settings(settings={"trace_file": "/x"}), "trace_file: cannot be", "400")

    async def check_log_settings_are_shown_and_changed(self):
        before = await maybe(self.client.get_log_settings())
        changed = await maybe(self.client.update_log_settings({"log_verbose_level": 1}))
        assert changed["log_verbose_level"] == 1
        assert await maybe(self.client.update_log_settings(before)) == before
        await self.fails(self.client.update_log_settings({"log_info": "x"}), "log_info: expected true or false", "400")

    async def check_a_model_is_listed_unloaded_and_loaded(self):
        client = self.client
        (row,) = await maybe(client.get_model_repository_index())
        assert (row["name"], row["state"]) == (MODEL, "READY")
        await maybe(client.unload_model(MODEL))
        assert await maybe(client.is_model_ready(MODEL)) is False
        (row,) = await maybe(client.get_model_repository_index())
        assert (row["state"], row["reason"]) == ("UNAVAILABLE", "unloaded")
        await self.fails(self.infer({"x": ("FP32", edges("FP32"))}), "is not loaded: unloaded", "404")
        await maybe(client.load_model(MODEL))
        assert await maybe(client.is_model_ready(MODEL)) is True
        same((await self.infer({"x": ("FP32", edges("FP32"))})).as_numpy("x"), edges("FP32"))

    async def check_errors_are_the_clients_own_with_our_text(self):
        client, tensor = self.client, InferInput("x", [3], "FP32")
        tensor.set_data_from_numpy(np.zeros(3, np.float32), binary_data=False)
        await self.fails(client.infer("dogs", [tensor]), "no model 'dogs' here; there is identity", "404")
        await self.fails(client.infer(MODEL, [tensor], "2"), "has no version '2'; it has 1", "404")
        await self.fails(
            client.infer(MODEL, [tensor], outputs=[InferRequestedOutput("y")]), "expected some of x, found 'y'", "400"
        )
        await self.fails(client.infer(MODEL, [tensor, tensor]), "inputs: 'x' is there twice", "400")
        tensor.set_shape([4])
        await self.fails(client.infer(MODEL, [tensor]), "x: data: shape [4] needs 4 elements, found 3", "400")
        await self.fails(client.load_model("dogs"), "no model 'dogs' here", "404")

    async def check_control_is_refused_where_it_is_off(self):
        for call in (
            self.locked.load_model(MODEL),
            self.locked.unload_model(MODEL),
            self.locked.update_trace_settings(settings={"trace_rate": "5"}),
            self.locked.update_log_settings({"log_info": True}),
        ):
            await self.fails(call, "--control-endpoints=true", "403")


class LateCalls:
    """The same client, whose calls begin when they are waited for: so a failing one fails where it is looked for."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        async def call(*args, **options):
            return await maybe(getattr(self._client, name)(*args, **options))

        return call


async def main(kind, address, locked):
    module = {"sync": tritonclient.http, "aio": tritonclient.http.aio}[kind]
    clients = [module.InferenceServerClient(each) for each in (address, locked)]
    await run(Checks(*map(LateCalls, clients)))
    for client in clients:
        await maybe(client.close())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
