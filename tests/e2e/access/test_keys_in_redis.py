"""Keys in a real Redis: changes count for all servers, an absence is survived for a stated time, and nobody waits for it."""

import asyncio
import contextlib
import json

import pytest
from tests.redis_server import RedisServer
from tests.unit.access.callers import header, made_key
from typer.testing import CliRunner

from moorage.access import gate as gates
from moorage.access import keys, redis_store
from moorage.access.errors import StoreAway, Unauthenticated
from moorage.access.gate import Gate
from moorage.api.access import AccessSettings
from moorage.cli.app import app

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.client.close()
    server.kill()


@pytest.fixture
def patient(monkeypatch):
    """A look is waited for longer than a busy machine takes."""
    monkeypatch.setattr(redis_store, "TIMEOUT_S", 0.5)


@pytest.fixture
def prompt(patient, monkeypatch):
    """Every look is due."""
    monkeypatch.setattr(gates, "REMEMBER_S", 0.0)
    monkeypatch.setattr(redis_store, "LOOK_S", 0.0)
    monkeypatch.setattr(redis_store, "RETRY_S", 0.0)


@contextlib.asynccontextmanager
async def opened(server):
    gate = Gate(AccessSettings(access_keys_redis_url=server.url))
    try:
        yield gate
    finally:
        await gate.close()


async def put(server, stored):
    await redis_store.write(server.url, lambda there: there.update({stored.id: stored}), 5)


async def test_a_key_counts_for_every_server_once_it_is_written_and_no_more_once_it_is_revoked(redis, prompt):
    key, stored = made_key()
    async with opened(redis) as one, opened(redis) as two:
        for gate in (one, two):
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header(key))
        await put(redis, stored)
        for gate in (one, two):
            assert (await gate.authenticate(header(key))).id == "alice"
        await put(redis, stored.model_copy(update={"revoked": stored.created}))
        for gate in (one, two):
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header(key))
    assert await redis_store.read(redis.url, 5) == [stored.model_copy(update={"revoked": stored.created})]


async def test_an_unknown_key_never_makes_the_server_ask_redis(redis, patient):
    key, stored = made_key()
    await put(redis, stored)
    async with opened(redis) as gate:
        await gate.authenticate(header(key))
        before = redis.client.info("stats")["total_commands_processed"]
        for number in range(50):
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header(made_key(f"unknown-{number}")[0]))
        assert redis.client.info("stats")["total_commands_processed"] - before <= 2 + 2  # our own, and one look


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_while_redis_is_away_known_keys_work_for_ten_minutes_and_then_it_is_said_that_it_is_away(
    how, redis, prompt, monkeypatch
):
    key, stored = made_key()
    await put(redis, stored)
    async with opened(redis) as gate:
        await gate.authenticate(header(key))
        redis.kill() if how == "killed" else redis.freeze()
        try:
            assert await gate.authenticate(header(key))
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header(made_key("unknown")[0]))
            [store] = gate._stores
            store._read_at -= redis_store.KEEP_S
            with pytest.raises(StoreAway, match="the store of keys does not answer"):
                await gate.authenticate(header(key))
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header("malformed"))
        finally:
            redis.start() if how == "killed" else redis.thaw()
        if how == "killed":
            await put(redis, stored)
        for _ in range(100):
            with contextlib.suppress(StoreAway):
                assert await gate.authenticate(header(key))
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("it did not come back")


async def test_a_frozen_redis_is_waited_for_once_a_second_and_no_longer_than_its_timeout(redis, patient, monkeypatch):
    monkeypatch.setattr(gates, "REMEMBER_S", 0.0)
    key, stored = made_key()
    await put(redis, stored)
    async with opened(redis) as gate:
        await gate.authenticate(header(key))
        [store] = gate._stores
        looks = []
        real = store.refresh
        monkeypatch.setattr(store, "refresh", lambda: looks.append(1) or real())
        store._next_look = 0.0
        redis.freeze()
        try:
            for _ in range(20):
                assert await gate.authenticate(header(key))
        finally:
            redis.thaw()
    assert len(looks) == 1


async def test_a_server_starts_while_redis_is_away_and_says_so_to_those_with_a_key(tmp_path):
    async with opened(RedisServer(tmp_path)) as gate:
        with pytest.raises(StoreAway):
            await gate.authenticate(header(made_key()[0]))
        with pytest.raises(Unauthenticated):
            await gate.authenticate([])


async def test_a_flushed_redis_has_no_keys(redis, prompt):
    key, stored = made_key()
    await put(redis, stored)
    async with opened(redis) as gate:
        await gate.authenticate(header(key))
        redis.client.flushall()
        with pytest.raises(Unauthenticated):
            await gate.authenticate(header(key))


@pytest.mark.parametrize("how", ["at once", "after an absence, with the same version"])
async def test_a_redis_that_was_exchanged_for_another_is_read_anew(how, redis, prompt, monkeypatch):
    (old, first), (new, second) = made_key("old"), made_key("new")
    await put(redis, first)
    async with opened(redis) as gate:
        await gate.authenticate(header(old))
        [store] = gate._stores
        version = redis.client.get(redis_store.VERSION)
        if how == "at once":
            redis.client.flushall()
            await put(redis, second)
        else:
            redis.kill()
            with monkeypatch.context() as hasty:
                hasty.setattr(redis_store, "READ_TIMEOUT_S", 0.05)
                await store._refresh()
            redis.start()
            await put(redis, second)
            redis.client.set(redis_store.VERSION, version)
        await store._refresh()
        assert await gate.authenticate(header(new))
        with pytest.raises(Unauthenticated):
            await gate.authenticate(header(old))


async def test_what_another_changes_meanwhile_is_neither_undone_nor_overwritten(redis):
    _, stored = made_key()
    await put(redis, stored)
    others = [stored.model_copy(update={"revoked": stored.created}), made_key("bob")[1]]
    waiting = list(others)

    def rename(there):
        if waiting:
            other = waiting.pop()
            redis.client.hset(redis_store.KEYS, other.id, json.dumps(other.document()))
        there["alice"] = there["alice"].model_copy(update={"tenant": "a"})

    await redis_store.write(redis.url, rename, 5)
    [alice, bob] = sorted(await redis_store.read(redis.url, 5), key=lambda key: key.id)
    assert (alice, bob) == (others[0].model_copy(update={"tenant": "a"}), others[1])


async def test_a_full_redis_takes_no_more_keys_until_those_that_have_ended_are_pruned(redis, tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    (tmp_path / "url").write_text(redis.url)
    for name in ("alice", "bob"):
        await put(redis, made_key(name)[1])

    def moor(*words):
        return CliRunner().invoke(app, ["keys", *words, "--redis-url-file", str(tmp_path / "url")])

    refused = await asyncio.to_thread(moor, "create", "carol")
    assert "expected at most 2 keys: moor keys prune removes" in str(refused.exception)
    assert (await asyncio.to_thread(moor, "revoke", "bob")).exit_code == 0
    assert (await asyncio.to_thread(moor, "prune")).stdout == "keys removed: bob\n"
    assert (await asyncio.to_thread(moor, "create", "carol")).exit_code == 0
    assert sorted(key.id for key in await redis_store.read(redis.url, 5)) == ["alice", "carol"]


async def test_a_broken_document_in_redis_changes_nothing(redis, prompt, caplog):
    key, stored = made_key()
    await put(redis, stored)
    async with opened(redis) as gate:
        await gate.authenticate(header(key))
        redis.client.hset(redis_store.KEYS, "bad", "{")
        redis.client.set(redis_store.VERSION, "another")
        assert await gate.authenticate(header(key))
    assert redis.url not in caplog.text
    assert stored.hash not in caplog.text


async def test_a_password_is_taken_from_a_file_and_never_shown(redis, patient, tmp_path, caplog):
    key, stored = made_key()
    redis.client.config_set("requirepass", "s3cret")
    path = redis.url.removeprefix("unix://")
    (tmp_path / "url").write_text(f"unix://:s3cret@{path}\n")
    await redis_store.write(f"unix://:s3cret@{path}", lambda there: there.update({stored.id: stored}), 5)
    gate = Gate(AccessSettings(access_keys_redis_url_file=str(tmp_path / "url")))
    assert await gate.authenticate(header(key))
    await gate.close()
    wrong = Gate(AccessSettings(access_keys_redis_url=f"unix://:wr0ng@{path}"))
    with pytest.raises(StoreAway):
        await wrong.authenticate(header(key))
    await wrong.close()
    assert "s3cret" not in caplog.text
    assert "wr0ng" not in caplog.text + repr(AccessSettings(access_keys_redis_url="redis://:wr0ng@h"))


async def test_moor_keys_writes_them_there(redis, tmp_path, prompt):
    (tmp_path / "url").write_text(redis.url)

    def moor(*words):
        done = CliRunner().invoke(app, ["keys", *words, "--redis-url-file", str(tmp_path / "url")])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    key = await asyncio.to_thread(moor, "create", "alice", "--tenant", "a")
    async with opened(redis) as gate:
        assert (await gate.authenticate(header(key))).tenant == "a"
        new = await asyncio.to_thread(moor, "rotate", "alice", "--overlap", "1h")
        assert await gate.authenticate(header(key)) == await gate.authenticate(header(new))
        assert "alice" in await asyncio.to_thread(moor, "list")
        await asyncio.to_thread(moor, "revoke", "alice")
        for gone in (key, new):
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header(gone))
