"""An API server that can be made to fail, and the real client for it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp.test_utils import TestServer
from tests.unit.controller.mock_api_server import MockApiServer

from moorage.controller.cluster import Cluster
from moorage.controller.credentials import Credentials


@dataclass
class Connection:
    """A server, a client of it, and what the client counted and loaded."""

    url: str
    server: MockApiServer
    cluster: Cluster
    counted: list[tuple[str, int]]
    tokens: list[str]


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    server = MockApiServer()
    async with TestServer(server.app()) as running:
        url = str(running.make_url("")).rstrip("/")
        tokens: list[str] = []
        counted: list[tuple[str, int]] = []

        def credentials() -> Credentials:
            tokens.append(f"token-{len(tokens) + 1}")
            return Credentials(server=url, token=tokens[-1])

        async with Cluster(credentials, lambda verb, code: counted.append((verb, code))) as cluster:
            yield Connection(url, server, cluster, counted, tokens)
