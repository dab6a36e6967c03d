"""`moor keys`: what it prints, what it writes, and how it ends."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from tests.unit.access.callers import header

from moorage.access import keys
from moorage.access.errors import Unauthenticated
from moorage.access.gate import Gate
from moorage.api.access import AccessSettings
from moorage.cli.key_place import KeysInRedis

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def moor(moor, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        found, out, err = moor("keys", *words)
        assert found == code, (out, err)
        return out, err

    return run


def who(file, key):
    return asyncio.run(Gate(AccessSettings(access_keys_file=str(file))).authenticate(header(key)))


def test_a_key_that_is_made_lets_its_owner_in(moor, tmp_path):
    limit = "100/minute operation=predict"
    out, err = moor(
        "create", "alice", "--file", "keys.json", "--role", "read", "--model", "cat*", "--tenant", "a", "--limit", limit
    )
    assert out.startswith("mk_alice_")
    assert out.count("\n") == 1
    assert out.strip() not in err
    principal = who(tmp_path / "keys.json", out.strip())
    assert (principal.id, principal.role, principal.models, principal.tenant) == ("alice", "read", ("cat*",), "a")
    assert principal.limits == ((100, "minute", "predict"),)
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_lists_show_neither_key_nor_hash(moor, tmp_path):
    key = moor("create", "alice", "--file", "keys.json", "--expires", "90d")[0].strip()
    moor("create", "bob", "--file", "keys.json", "--model", "cats")
    text = moor("list", "--file", "keys.json")[0]
    listed = moor("list", "--file", "keys.json", "--output", "json")[0]
    secret, stored = key.rsplit("_", 1)[1], json.loads((tmp_path / "keys.json").read_text())[0]["hash"]
    assert [line.split()[:5] for line in text.splitlines()[1:]] == [
        ["alice", "read-write", "*", "-", "active"],
        ["bob", "read-write", "cats", "-", "active"],
    ]
    assert [each["state"] for each in json.loads(listed)] == ["active", "active"]
    for said in (text, listed):
        assert secret not in said
        assert stored not in said
        assert "hmac" not in said


def test_after_a_rotation_both_secrets_work_until_the_overlap_ends_and_the_tenant_stays(moor, tmp_path):
    file = tmp_path / "keys.json"
    old = moor("create", "alice", "--file", file, "--tenant", "team-a")[0].strip()
    made = json.loads(moor("rotate", "alice", "--file", file, "--output", "json")[0])
    assert who(file, old) == who(file, made["key"])
    assert who(file, old).tenant == "team-a"
    left = datetime.fromisoformat(made["former_until"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    newest = moor("rotate", "alice", "--file", file, "--overlap", "0")[0].strip()
    assert who(file, newest)
    for gone in (old, made["key"]):
        with pytest.raises(Unauthenticated):
            who(file, gone)


def test_a_revoked_key_is_bad_at_once_also_its_former_secret(moor, tmp_path):
    file = tmp_path / "keys.json"
    old = moor("create", "alice", "--file", file)[0].strip()
    new = moor("rotate", "alice", "--file", file)[0].strip()
    assert moor("revoke", "alice", "--file", file)[0] == "key alice is revoked\n"
    for gone in (old, new):
        with pytest.raises(Unauthenticated):
            who(file, gone)
    assert "revoked" in moor("list", "--file", file)[0]
    assert "the key is revoked: create another" in moor("rotate", "alice", "--file", file, code=2)[1]


def test_a_full_file_takes_no_more_keys_until_those_that_have_ended_are_pruned(moor, monkeypatch):
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    for name in ("alice", "bob"):
        moor("create", name, "--file", "keys.json")
    said = moor("create", "carol", "--file", "keys.json", code=2)[1]
    assert "keys.json: expected at most 2 keys: moor keys prune removes those that have ended" in said
    moor("revoke", "bob", "--file", "keys.json")
    assert moor("prune", "--file", "keys.json")[0] == "keys removed: bob\n"
    assert moor("prune", "--file", "keys.json", "--output", "json")[0] == "[]\n"
    moor("create", "carol", "--file", "keys.json")
    assert [line.split()[0] for line in moor("list", "--file", "keys.json")[0].splitlines()] == ["ID", "alice", "carol"]


def test_the_manifest_is_a_secret_that_a_pod_can_mount(moor, tmp_path):
    key = moor("create", "alice", "--file", "keys.json")[0].strip()
    made = yaml.safe_load(moor("manifest", "cat-keys", "--file", "keys.json", "-n", "demo")[0])
    assert (made["kind"], made["metadata"]) == ("Secret", {"name": "cat-keys", "namespace": "demo"})
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for name, text in made["stringData"].items():
        (mounted / name).write_text(text)
    gate = Gate(AccessSettings(access_keys_dir=str(mounted)))
    assert asyncio.run(gate.authenticate(header(key))).id == "alice"
    assert moor("manifest", "cat-keys", "--file", "keys.json", "--to", "secret.yaml")[0] == ""
    assert (tmp_path / "secret.yaml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "expected --file, --redis-url-file or the variable MOORAGE_ACCESS_KEYS_REDIS_URL"),
        (["create", "--file", "k.json", "--redis-url-file", "u"], "expected one of --file and --redis-url-file"),
        (["create", "A b", "--file", "k.json"], "the id: expected at most 32 lower-case letters, digits and '-'"),
        (["create", "--file", "k.json", "--model", "a b"], "--model: expected at most 100 names"),
        (["create", "--file", "k.json", "--tenant", ""], "--tenant: expected at most 63 letters"),
        (["create", "--file", "k.json", "--limit", "many"], "--limit: expected a rule such as"),
        (["create", "--file", "k.json", "--limit", "1/minute by=ip"], "--limit: expected a rate and operation="),
        (["create", "--file", "k.json", "--expires", "soon"], "--expires: expected 90d, 12h or a date"),
        (["create", "--file", "k.json", "--expires", "2020-01-01"], "--expires: expected a time to come"),
        (["create", "--file", "none/k.json"], "none/k.json: cannot be written: No such file"),
        (["create", "--file", "k.yaml"], "expected a .json file"),
        (
            ["rotate", "bob", "--file", "k.json"],
            "--file: k.json: expected a file of keys, found none: moor keys create",
        ),
        (["revoke", "bob", "--file", "k.json"], "--file: k.json: expected a file of keys, found none"),
        (["prune", "--file", "k.json"], "--file: k.json: expected a file of keys, found none"),
        (["list", "--file", "k.json"], "--file: k.json: expected a file of keys, found none"),
        (["manifest", "cat-keys", "--file", "k.json"], "--file: k.json: expected a file of keys, found none"),
        (
            ["manifest", "Bad N", "--file", "k.json"],
            "NAME: expected the name of an object (a-z, 0-9, - and .), found 'Bad N'",
        ),
        (["manifest", "cats", "--file", "k.json", "-n", "Bad"], "--namespace: expected the name of a namespace"),
        (
            ["rotate", "bob", "--file", "k.json", "--overlap", "9999999h"],
            "--overlap: expected a number up to 99999 with",
        ),
        (["create", "--file", "k.json", "--expires", "9999999d"], "--expires: expected a number up to 99999 with"),
        (["list", "--redis-url-file", "none"], "--redis-url-file: none: cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(words, said, moor):
    assert said in moor(*words, code=2)[1]


def test_an_id_that_is_not_there_is_refused(moor):
    moor("create", "alice", "--file", "keys.json")
    for words in (["rotate", "bob"], ["revoke", "bob"]):
        assert "bob: expected the id of a key that is there" in moor(*words, "--file", "keys.json", code=2)[1]


def test_a_secret_without_a_key_is_refused_since_it_would_lock_everybody_out(moor, tmp_path):
    moor("create", "alice", "--file", "keys.json")
    moor("revoke", "alice", "--file", "keys.json")
    moor("prune", "--file", "keys.json")
    out, err = moor("manifest", "cat-keys", "--file", "keys.json", code=2)
    assert (out, "expected keys, found none" in err) == ("", True)


def test_the_same_id_twice_is_refused(moor):
    moor("create", "alice", "--file", "keys.json")
    assert "there is such a key already" in moor("create", "alice", "--file", "keys.json", code=2)[1]


def test_a_redis_that_does_not_answer_is_code_3_and_its_url_stays_unsaid(moor, tmp_path):
    (tmp_path / "url").write_text("redis://:s3cret@127.0.0.1:1/0")
    err = moor("list", "--redis-url-file", "url", code=3)[1]
    assert "Redis at 127.0.0.1:1: ConnectionError" in err
    assert "s3cret" not in err


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://", "localhost"),
        ("unix:///run/redis.sock?password=s3cret", "/run/redis.sock"),
        ("redis://:1/s3cret@redis.example.com", "the address in its URL"),
        ("redis://:1#s3cret@redis.example.com", "the address in its URL"),
    ],
)
def test_the_address_of_a_redis_is_told_without_its_password(url, where):
    said = KeysInRedis(url)._where()
    assert said.startswith(where)
    assert "s3cret" not in said
