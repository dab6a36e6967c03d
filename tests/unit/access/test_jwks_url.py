"""Keys from an issuer's URL: fetched when they are needed, kept, and never more often than is stated."""

import asyncio
import json
import time

import pytest
from tests.unit.access.callers import AUDIENCE, ISSUER, Issuer, bearer

from moorage.access import jwks
from moorage.access.errors import Unauthenticated
from moorage.access.gate import Gate
from moorage.api.access import AccessSettings

pytestmark = pytest.mark.timeout(20)  # keys of RSA are made, and a server answers


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


class Web:
    """An HTTP server of one document; counts who asks."""

    def __init__(self, body):
        self.body = body
        self.status = "200 OK"
        self.asked = 0
        self.extra = ""
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        await self.may_answer.wait()
        body = self.body.encode()
        head = f"HTTP/1.1 {self.status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{self.extra}\r\n"
        writer.write(head.encode() + body)
        writer.close()

    def gate(self):
        return Gate(
            AccessSettings(
                jwt_issuer=ISSUER,
                jwt_audience=AUDIENCE,
                jwt_jwks_url=f"http://127.0.0.1:{self.port}/keys",
                jwt_algorithms=("RS256", "ES256", "EdDSA"),
            )
        )


async def refused(gate, token):
    with pytest.raises(Unauthenticated):
        await gate.authenticate(bearer(token))


async def test_keys_are_fetched_once_when_the_first_token_comes(issuer):
    async with Web(issuer.jwks()) as web:
        gate = web.gate()
        assert web.asked == 0
        tokens = [issuer.token(jti=str(number)) for number in range(5)]
        await asyncio.gather(*(gate.authenticate(bearer(token)) for token in tokens))
        assert web.asked == 1


async def test_unknown_key_names_fetch_at_most_once_a_minute(issuer, monkeypatch):
    async with Web(json.dumps({"keys": json.loads(issuer.jwks())["keys"][:1]})) as web:
        gate = web.gate()
        await gate.authenticate(bearer(issuer.token()))
        for number in range(10):
            await refused(gate, issuer.token(headers={"kid": f"made up {number}"}))
        assert web.asked == 1  # the first fetch counts as one
        monkeypatch.setattr(gate._tokens.keys, "_next_unknown", 0.0)  # a minute later
        web.body = issuer.jwks()
        assert await gate.authenticate(bearer(issuer.token("ES256")))
        await refused(gate, issuer.token(headers={"kid": "made up"}))
        assert web.asked == 2


async def test_while_the_issuer_is_away_known_keys_work_for_an_hour(issuer, monkeypatch):
    async with Web(issuer.jwks()) as web:
        gate = web.gate()
        await gate.authenticate(bearer(issuer.token()))
        await web.close()
        keys = gate._tokens.keys
        monkeypatch.setattr(keys, "_next_look", 0.0)
        assert await gate.authenticate(bearer(issuer.token(jti="2")))
        await asyncio.sleep(0.1)
        monkeypatch.setattr(keys, "_read_at", time.monotonic() - jwks.KEEP_S - 1)
        await refused(gate, issuer.token(jti="3"))


@pytest.mark.parametrize(
    ("status", "body", "extra"),
    [
        ("500 Oops", "", ""),
        ("302 Found", "", "location: http://127.0.0.1:1/\r\n"),
        ("200 OK", "x" * 300_000, ""),
        ("200 OK", "<html>", ""),
    ],
)
async def test_an_issuer_that_answers_something_else_lets_nobody_in_and_is_not_asked_at_each_call(
    status, body, extra, issuer
):
    async with Web(body) as web:
        web.status, web.extra = status, extra
        gate = web.gate()
        for number in range(5):
            await refused(gate, issuer.token(jti=str(number)))
        assert web.asked == 1


async def test_an_issuer_that_cannot_be_reached_lets_nobody_in(issuer):
    async with Web("") as web:
        gate = web.gate()
    await refused(gate, issuer.token())


async def test_new_keys_are_fetched_in_the_background_while_the_old_ones_answer(issuer, monkeypatch):
    async with Web(issuer.jwks()) as web:
        gate = web.gate()
        await gate.authenticate(bearer(issuer.token()))
        monkeypatch.setattr(gate._tokens.keys, "_next_look", 0.0)
        web.may_answer.clear()
        assert await gate.authenticate(bearer(issuer.token(jti="2")))
        web.may_answer.set()
        await gate._tokens.keys._fetching
        assert web.asked == 2
