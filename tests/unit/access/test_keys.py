"""API keys: what is good, what is not, and that nobody can tell why not. Hazard: a caller learns which ids exist."""

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.access.callers import bearer, header, key_settings, made_key
from tests.unit.mock_hanging_mount import MockHangingMount

from moorage.access import gate as gates
from moorage.access import keys, stores
from moorage.access.errors import ConfigurationError, Forbidden, StoreAway, Unauthenticated
from moorage.access.gate import Gate
from moorage.access.principal import Limit, Principal
from moorage.api import apart
from moorage.api.access import AccessSettings


@pytest.fixture
def impatient(monkeypatch):
    """Nothing is remembered, and every look is due."""
    monkeypatch.setattr(gates, "REMEMBER_S", 0.0)
    monkeypatch.setattr(stores, "LOOK_S", 0.0)


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def test_a_key_says_who_calls_with_which_role_models_limits_and_tenant(tmp_path):
    limits = [{"requests": 5, "per": "minute", "operation": "predict"}]
    key, stored = made_key(models=["cat*"], limits=limits, tenant="team-a")
    gate = Gate(key_settings(tmp_path / "keys.json", stored))
    expected = Principal("alice", "key", "read-write", ("cat*",), (Limit(5, "minute", "predict"),), "team-a")
    for headers in (header(key), bearer(key), header(f"bearer  {key}", b"authorization"), header(key) + bearer(key)):
        assert await gate.authenticate(headers) == expected
    assert gate.known(header(key)) == expected


def test_what_is_stored_holds_no_secret_and_no_two_hashes_are_alike():
    secret = keys.new_secret()
    assert keys.hashed(secret) != keys.hashed(secret)
    assert secret not in keys.hashed(secret)
    assert len(secret) == 43
    key, stored = made_key()
    assert key.split("_", 2)[2] not in json.dumps(stored.document())


def bad_keys():
    key, stored = made_key()
    other, _ = made_key("nobody-knows")
    tail = key[:-1] + ("a" if key[-1] != "a" else "b")
    words = {
        "unknown": other,
        "wrong tail": tail,
        "too short": key[:-1],
        "too long": key + "a",
        "1 MB": "mk_" + "a" * 1_000_000,
        "nul": key + "\0",
        "crlf": key + "\r\n",
        "empty": "",
        "only prefix": "mk_",
        "no prefix": key[3:],
        "upper case id": key.replace("alice", "ALICE"),
        "not ascii": key + "é",
        "quote": "mk_' OR 1=1_",
    }
    return stored, words


@pytest.mark.parametrize("what", list(bad_keys()[1]))
async def test_a_bad_key_gets_the_same_answer_as_every_other(what, tmp_path):
    stored, words = bad_keys()
    gate = Gate(key_settings(tmp_path / "keys.json", stored))
    with pytest.raises(Unauthenticated) as refused:
        await gate.authenticate(header(words[what].encode("latin-1")))
    assert str(refused.value) == "expected an API key in x-api-key or as Authorization: Bearer mk_..."
    assert refused.value.headers == ((b"www-authenticate", b'Bearer realm="moorage"'),)
    assert gate.known(header(words[what].encode("latin-1"))) is None


@pytest.mark.parametrize("when", ["expires", "revoked"])
async def test_an_expired_and_a_revoked_key_get_that_answer_too(when, tmp_path):
    key, stored = made_key(**{when: ago(1)})
    with pytest.raises(Unauthenticated, match=r"^expected an API key in x-api-key"):
        await Gate(key_settings(tmp_path / "keys.json", stored)).authenticate(header(key))


async def test_a_key_that_is_remembered_still_ends_when_it_expires(tmp_path):
    key, stored = made_key(expires=datetime.now(UTC) + timedelta(milliseconds=80))
    gate = Gate(key_settings(tmp_path / "keys.json", stored))
    await gate.authenticate(header(key))
    until, _ = next(iter(gate._verified.values()))
    assert until == pytest.approx(stored.expires.timestamp())


async def test_a_wrong_secret_an_unknown_id_and_a_malformed_key_cost_the_same_comparisons(tmp_path, monkeypatch):
    compared = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    _, stored = made_key()
    gate = Gate(key_settings(tmp_path / "keys.json", stored))
    costs = set()
    for presented in (made_key()[0], made_key("unknown")[0], "mk_", "x" * 100_000, "mk_alice_\0"):
        compared.clear()
        with pytest.raises(Unauthenticated):
            await gate.authenticate(header(presented))
        costs.add(len(compared))
    assert costs == {2}


async def test_two_different_credentials_are_none(tmp_path):
    one, first = made_key("one")
    two, second = made_key("two")
    gate = Gate(key_settings(tmp_path / "keys.json", first, second))
    for headers in (
        header(one) + bearer(two),
        header(one) + header(two),
        header(one) + header("Basic abc", b"authorization"),
    ):
        with pytest.raises(Unauthenticated):
            await gate.authenticate(headers)
        assert gate.known(headers) is None


async def test_what_is_good_in_one_header_is_not_remembered_for_another(tmp_path):
    key, stored = made_key()
    gate = Gate(key_settings(tmp_path / "keys.json", stored))
    await gate.authenticate(header(key))
    assert gate.known(header(key, b"authorization")) is None
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(key, b"authorization"))


async def test_while_a_redis_is_away_known_and_unknown_ids_get_the_same_answer(tmp_path):
    key, stored = made_key()
    redis = {"access_keys_redis_url": f"unix://{tmp_path / 'none.sock'}"}
    gate = Gate(key_settings(tmp_path / "keys.json", stored, **redis))
    assert await gate.authenticate(header(key))
    for bad in (made_key()[0], made_key("unknown")[0]):
        with pytest.raises(StoreAway):
            await gate.authenticate(header(bad))
    await gate.close()


async def test_the_header_of_the_key_is_a_setting(tmp_path):
    key, stored = made_key()
    gate = Gate(key_settings(tmp_path / "keys.json", stored, access_key_header="x-model-key"))
    assert (await gate.authenticate(header(key, b"x-model-key"))).id == "alice"
    with pytest.raises(Unauthenticated, match="x-model-key"):
        await gate.authenticate(header(key))


def test_roles_are_nested_and_models_are_patterns(tmp_path):
    gate = Gate(key_settings(tmp_path / "keys.json"))
    reader = Principal("r", "key", "read", ("cat?", "dog*"))
    gate.permit(reader, "read", "cats")
    gate.permit(reader, "read", "dog-v2")
    gate.permit(Principal("a", "key", "admin"), "read-write", "anything")
    with pytest.raises(Forbidden, match="expected role read-write or admin, the caller has read"):
        gate.permit(reader, "read-write", "cats")
    for model in ("cat", "catss", "Cats", "xdog"):
        with pytest.raises(Forbidden, match="may not ask this model"):
            gate.permit(reader, "read", model)


async def test_a_rotated_keys_former_secret_is_good_for_a_while(tmp_path):
    old, before = made_key()
    new, after = made_key()
    soon = datetime.now(UTC) + timedelta(hours=1)
    former = {"hash": before.hash, "until": soon}
    gate = Gate(key_settings(tmp_path / "keys.json", after.model_copy(update={"former": keys.Former(**former)})))
    assert (await gate.authenticate(header(old))).id == (await gate.authenticate(header(new))).id == "alice"
    ended = keys.Former(hash=before.hash, until=ago(1))
    gate = Gate(key_settings(tmp_path / "keys.json", after.model_copy(update={"former": ended})))
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(old))
    assert await gate.authenticate(header(new))


async def test_a_change_of_the_file_counts_without_a_restart(tmp_path, impatient):
    path = tmp_path / "keys.json"
    key, stored = made_key()
    gate = Gate(key_settings(path, stored))
    assert await gate.authenticate(header(key))
    stores.write_file(path, [stored.model_copy(update={"revoked": ago(1)})])
    assert gate.known(header(key)) is None
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(key))


async def test_a_file_that_breaks_while_it_serves_changes_nothing_and_is_logged_once(tmp_path, impatient, caplog):
    path = tmp_path / "keys.json"
    key, stored = made_key()
    gate = Gate(key_settings(path, stored))
    for broken in ("[{", None):
        path.write_text(broken) if broken else path.unlink()
        caplog.clear()
        for _ in range(3):
            assert await gate.authenticate(header(key))
        assert len(caplog.records) == 1
        assert stored.hash not in caplog.text
    stores.write_file(path, [])
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(key))


async def test_a_file_that_becomes_a_pipe_changes_nothing_and_is_told_once(tmp_path, impatient, caplog):
    path = tmp_path / "keys.json"
    key, stored = made_key()
    gate = Gate(key_settings(path, stored))
    path.unlink()
    os.mkfifo(path)
    for _ in range(3):
        assert await gate.authenticate(header(key))
    assert [record.reason for record in caplog.records] == [f"{path}: cannot be read: not a regular file"]
    path.unlink()
    stores.write_file(path, [])
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(key))


async def test_a_mount_that_hangs_holds_up_no_caller_and_is_read_by_one_thread(
    tmp_path, impatient, monkeypatch, caplog
):
    monkeypatch.setattr(apart, "HANGS_S", 0.0)
    monkeypatch.setattr(stores, "WAIT_S", 0.05)
    path = tmp_path / "keys.json"
    key, stored = made_key()
    other, added = made_key("other")
    gate = Gate(key_settings(path, stored))
    stores.write_file(path, [stored, added])
    mount = MockHangingMount(tmp_path, monkeypatch)
    mount.hang()
    try:
        for _ in range(20):
            assert await gate.authenticate(header(key))
            with pytest.raises(Unauthenticated):
                await gate.authenticate(header(other))
        assert mount.waiting == 1
        assert [record.getMessage() for record in caplog.records] == [
            "the keys are not read: their file does not answer; those known before stay"
        ]
    finally:
        mount.answer()
    await gate._stores[0]._looking
    assert (await gate.authenticate(header(other))).id == "other"


async def test_a_file_that_could_not_be_read_once_is_read_a_second_later(tmp_path, impatient, monkeypatch, caplog):
    path = tmp_path / "keys.json"
    key, stored = made_key()
    gate = Gate(key_settings(path, stored))
    [store] = gate._stores
    stores.write_file(path, [])
    with monkeypatch.context() as broken:
        broken.setattr(store, "_read", lambda _: stores.read_file(tmp_path / "none.json"))
        for _ in range(2):
            assert await gate.authenticate(header(key))
    assert len(caplog.records) == 1
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(key))


async def test_a_file_that_cannot_be_read_is_tried_no_more_than_once_a_second(tmp_path):
    gate = Gate(key_settings(tmp_path / "keys.json", made_key()[1]))
    [store] = gate._stores
    (tmp_path / "keys.json").unlink()
    await store.refresh()
    assert store.fresh(time.monotonic())
    assert not store.fresh(time.monotonic() + stores.LOOK_S)


async def test_a_mounted_secret_is_followed_through_the_kubelets_symbolic_link(tmp_path, impatient):
    one, first = made_key("one")
    two, second = made_key("two")
    for name, stored in (("..2026_1", first), ("..2026_2", second)):
        (tmp_path / name).mkdir()
        stores.write_file(tmp_path / name / "keys.json", [stored])
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    gate = Gate(AccessSettings(access_keys_dir=str(tmp_path)))
    assert await gate.authenticate(header(one))
    (tmp_path / "..new").symlink_to("..2026_2")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105 - as the kubelet does
    assert (await gate.authenticate(header(two))).id == "two"
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(one))


async def test_a_folder_may_hold_a_file_for_each_key_in_json_or_yaml(tmp_path):
    one, first = made_key("one")
    two, second = made_key("two")
    (tmp_path / "one.json").write_text(json.dumps(first.document()))
    (tmp_path / "two.yaml").write_text(
        "- " + "\n  ".join(f"{name}: {json.dumps(value)}" for name, value in second.document().items())
    )
    gate = Gate(AccessSettings(access_keys_dir=str(tmp_path)))
    assert [(await gate.authenticate(header(key))).id for key in (one, two)] == ["one", "two"]


async def test_a_link_to_nowhere_hides_no_change_of_the_other_files(tmp_path, impatient):
    key, stored = made_key()
    stores.write_file(tmp_path / "keys.json", [stored])
    (tmp_path / "old.json").symlink_to("nowhere")
    gate = Gate(AccessSettings(access_keys_dir=str(tmp_path)))
    assert await gate.authenticate(header(key))
    stores.write_file(tmp_path / "keys.json", [])
    with pytest.raises(Unauthenticated):
        await gate.authenticate(header(key))


@pytest.mark.parametrize("value", ['!!int ""', "!!bool x", "!!timestamp x", "!!float _", "!!python/object:os.system x"])
async def test_a_value_that_yaml_cannot_make_leaves_the_keys_as_they_were(tmp_path, impatient, value):
    key, stored = made_key()
    stores.write_file(tmp_path / "keys.json", [stored])
    gate = Gate(AccessSettings(access_keys_dir=str(tmp_path)))
    (tmp_path / "broken.yaml").write_text(f"- id: {value}\n")
    assert await gate.authenticate(header(key))
    with pytest.raises(ConfigurationError, match="expected YAML"):
        stores.read_folder(tmp_path)


def test_the_file_is_its_owners_alone(tmp_path):
    key_settings(tmp_path / "keys.json", made_key()[1])
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expire": "2030-01-01T00:00:00Z"}, "key 1: expire: Extra inputs are not permitted"),
        ({"role": "root"}, "key 1: role: Input should be 'read', 'read-write' or 'admin'"),
        ({"hash": "secret"}, "key 1: hash: String should match pattern"),
        ({"expires": "2030-01-01T00:00:00"}, "key 1: expires: Input should have timezone info"),
        ({"models": ["ca ts"]}, "key 1: models.0: String should match pattern"),
        ({"id": "A"}, "key 1: id: String should match pattern"),
    ],
)
def test_a_document_that_is_wrong_is_named_when_the_server_starts(change, said, tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([{**made_key()[1].document(), **change}]))
    with pytest.raises(ConfigurationError) as refused:
        Gate(AccessSettings(access_keys_file=str(path)))
    assert str(refused.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"x"', "[" * 100_000])
def test_a_file_of_something_else_is_refused_when_the_server_starts(text, tmp_path):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"expected JSON|key 1: Input should be"):
        Gate(AccessSettings(access_keys_file=str(tmp_path / "keys.json")))


@pytest.mark.parametrize("option", ["access_keys_file", "access_keys_redis_url_file"])
def test_a_pipe_is_refused_when_the_server_starts(option, tmp_path):
    os.mkfifo(tmp_path / "keys.json")
    with pytest.raises(ConfigurationError, match="cannot be read: not a regular file"):
        Gate(AccessSettings(**{option: str(tmp_path / "keys.json")}))


def test_a_missing_file_and_two_keys_of_one_id_are_refused_when_the_server_starts(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        Gate(AccessSettings(access_keys_file=str(tmp_path / "none.json")))
    with pytest.raises(ConfigurationError, match="key 2: the id alice is there twice"):
        Gate(key_settings(tmp_path / "keys.json", made_key()[1], made_key()[1]))


def test_what_is_written_takes_the_place_of_no_device_and_of_no_link(tmp_path):
    pipe, file, link = (tmp_path / name for name in ("pipe", "file", "link"))
    os.mkfifo(pipe)  # as /dev/stdout may be one
    with pytest.raises(OSError, match="not a regular file"):
        stores.write_private(pipe, "secret")
    assert pipe.is_fifo()
    link.symlink_to(file)
    for text in ("secret", "another"):
        stores.write_private(link, text)
        assert link.is_symlink()
        assert file.read_text() == text
    assert sorted(tmp_path.iterdir()) == sorted([pipe, file, link])
