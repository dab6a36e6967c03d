"""The server under test: its endpoints, and what it says of itself, asked once. Made by `command.py` or by a test."""

import json
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, Final, Self

from moorage.cli.conformance import rpc
from moorage.cli.conformance.http import Endpoint, Reply, UnreachableError
from moorage.cli.conformance.rendering import Message, zeros
from moorage.cli.conformance.vocabulary import Tensor

_PATIENCE_S: Final = 30
_ANY: Final = {"name": "x", "datatype": "FP32", "shape": [1]}
"""What a model that echoes is asked with, if it names no inputs: it takes everything."""


class Target:
    """One server, by its addresses and the names of its models. A context manager."""

    def __init__(
        self, url: str, grpc: str | None = None, model: str | None = None, identity: str | None = None
    ) -> None:
        self.url = url
        self.http = Endpoint(url)
        self.identity = identity
        self.model = model or identity
        self.probed: dict[str, bool] = {}
        """Extensions that it does not announce -> whether it has them all the same."""
        self._grpc_address = grpc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the gRPC connection, if there is one."""
        if "grpc" in self.__dict__ and self.grpc is not None:
            self.grpc.close()

    @cached_property
    def without_grpc(self) -> str | None:
        """Why gRPC is not asked, or None."""
        if self._grpc_address is None:
            return "needs --grpc HOST:PORT"
        package = rpc.missing()
        return f"needs the package {package}: pip install {package}" if package else None

    @cached_property
    def grpc(self) -> rpc.RpcEndpoint | None:
        """The gRPC server, where there is one to ask."""
        if self.without_grpc or self._grpc_address is None:
            return None
        return rpc.RpcEndpoint(self._grpc_address)

    @cached_property
    def words(self) -> Mapping[str, str]:
        """What a case's placeholders stand for, as far as it is known."""
        known = {"model": self.model, "identity": self.identity, "version": self._version}
        return {name: value for name, value in known.items() if value}

    @cached_property
    def extensions(self) -> frozenset[str]:
        """What the server says it has beyond the protocol's core."""
        found = self._object("/v2").get("extensions")
        return frozenset(each for each in found if isinstance(each, str)) if isinstance(found, list) else frozenset()

    @cached_property
    def inputs(self) -> tuple[Tensor, ...] | str:
        """A valid request's inputs, made from the model's metadata; or why there are none."""
        named = self._metadata.get("inputs")
        if not isinstance(named, list):
            return "the model's metadata has no list of inputs"
        if not named:
            if self.model == self.identity:
                return (zeros(_ANY),)
            return "the model's metadata names no inputs"
        chosen: dict[str, dict[str, Any]] = {}
        for each in sorted(named, key=_ease):  # a model may name an input once for each form that it takes
            chosen.setdefault(each["name"], each)
        return tuple(zeros(each) for each in chosen.values())

    @cached_property
    def single_input(self) -> bool:
        """True where the metadata names exactly one input, the size of which follows from the number of bytes."""
        named = self._metadata.get("inputs")
        return isinstance(named, list) and len(named) == 1 and named[0].get("shape", []).count(-1) <= 1

    def answers(self) -> bool:
        """True while it says that it is alive; or, if it never said so, while it says anything."""
        try:
            reply = self.get("/v2/health/live", 10)
        except UnreachableError:
            return False
        return reply.status == 200 if self._alive else reply.status is not None

    def check(self) -> None:
        """Nothing, if somebody listens.

        Raises:
            UnreachableError: nobody does.
        """
        _ = self._alive

    def get(self, path: str, within_s: float = _PATIENCE_S) -> Reply:
        """A plain GET.

        Raises:
            UnreachableError: nobody listens.
        """
        return self.http.ask(Message("GET", path, {}, b""), within_s)

    @cached_property
    def _alive(self) -> bool:
        return self.get("/v2/health/live").status == 200

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        return self._object(f"/v2/models/{self.model}") if self.model else {}

    @property
    def _version(self) -> str | None:
        versions = self._metadata.get("versions")
        return versions[0] if isinstance(versions, list) and versions and isinstance(versions[0], str) else None

    def _object(self, path: str) -> dict[str, Any]:
        try:
            found = json.loads(self.get(path).body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def _ease(named: Mapping[str, Any]) -> tuple[bool, int]:
    """Zeros are a valid number and no valid file; and the fewer sides are open, the surer is the shape."""
    return named["datatype"] == "BYTES", list(named["shape"]).count(-1)
