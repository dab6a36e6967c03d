"""JSON Web Tokens: which are good, which are not, and where keys come from. Hazards: CVE-2026-102268 (a public key as an HMAC
secret), CVE-2026-32597 (unknown `crit`), tokens that name their own keys.
"""

import base64
import hashlib
import hmac
import json
import os
import socket
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError
from tests.unit.access.callers import AUDIENCE, ISSUER, Issuer, bearer, encoded, header, made_key
from tests.unit.mock_hanging_mount import MockHangingMount

from moorage.access import jwks
from moorage.access.errors import ConfigurationError, Unauthenticated
from moorage.access.gate import Gate
from moorage.access.principal import Principal
from moorage.access.stores import write_file
from moorage.api.access import AccessSettings

pytestmark = pytest.mark.timeout(20)  # keys of RSA are made


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture
def gate(issuer, tmp_path):
    return Gate(issuer.settings(tmp_path / "jwks.json"))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_says_who_calls(algorithm, issuer, gate):
    token = issuer.token(algorithm)
    assert await gate.authenticate(bearer(token)) == Principal("bob", "jwt", "read-write")
    assert gate.known(bearer(token)) is not None


def signed(issuer, header_part, claims, key=None):
    """A token with any header and claims, signed with the issuer's RSA key."""
    made = f"{header_part}.{claims}".encode()
    algorithm = jwt.get_algorithm_by_name("RS256")
    return made.decode() + "." + encoded(algorithm.sign(made, key or issuer.private["RS256"]))


def hs256(issuer, change):
    pem = issuer.private["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': 'RS256'})}.{good_claims()}"
    return made + "." + encoded(hmac.digest(change(pem), made.encode(), hashlib.sha256))


def good_claims(**changes):
    return encoded({"iss": ISSUER, "aud": AUDIENCE, "sub": "bob", "exp": int(time.time()) + 300, **changes})


RS = {"alg": "RS256", "typ": "JWT", "kid": "RS256"}
DUPLICATE = f'{{"iss": "{ISSUER}", "aud": "{AUDIENCE}", "sub": "bob", "sub": "root", "exp": 9999999999}}'
BAD = {
    "alg none": lambda i: f"{encoded({'alg': 'none'})}.{good_claims()}.",
    "alg None": lambda i: f"{encoded({'alg': 'None', 'kid': 'RS256'})}.{good_claims()}.",
    "alg null": lambda i: signed(i, encoded({"alg": None, "kid": "RS256"}), good_claims()),
    "alg a list": lambda i: signed(i, encoded({"alg": ["RS256"], "kid": "RS256"}), good_claims()),
    "HS256 with the public key": lambda i: hs256(i, lambda pem: pem),
    "HS256 with the public key and other white space": lambda i: hs256(i, lambda pem: b" \n" + pem.strip() + b"\n\n"),
    "an algorithm that is not configured": lambda i: jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "bob", "exp": time.time() + 60},
        i.private["RS256"],
        "RS512",
        {"kid": "RS256"},
    ),
    "the algorithm of another type of key": lambda i: signed(
        i, encoded({"alg": "ES256", "kid": "RS256"}), good_claims()
    ),
    "another issuer's key": lambda i: signed(
        i, encoded(RS), good_claims(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ),
    "no signature": lambda i: ".".join(i.token().split(".")[:2]) + ".",
    "changed claims": lambda i: ".".join([i.token().split(".")[0], good_claims(sub="root"), i.token().split(".")[2]]),
    "expired": lambda i: i.token(exp=int(time.time()) - 31),
    "not yet": lambda i: i.token(nbf=int(time.time()) + 60),
    "issued in future": lambda i: i.token(iat=int(time.time()) + 60),
    "wrong audience": lambda i: i.token(aud="others"),
    "no audience": lambda i: i.token(aud=None),
    "wrong issuer": lambda i: i.token(iss="https://issuer.example.evil"),
    "no issuer": lambda i: i.token(iss=None),
    "no end": lambda i: i.token(exp=None),
    "an end that is no number": lambda i: signed(i, encoded(RS), good_claims(exp="soon")),
    "an endless end": lambda i: signed(i, encoded(RS), good_claims(exp=float("inf"))),
    "no subject": lambda i: i.token(sub=None),
    "a subject that is no text": lambda i: signed(i, encoded(RS), good_claims(sub=["bob"])),
    "a subject with a line break": lambda i: i.token(sub="bob\nroot"),
    "a long subject": lambda i: i.token(sub="b" * 257),
    "unknown crit": lambda i: i.token(headers={"crit": ["x"], "x": 1}),
    "known crit": lambda i: i.token(headers={"crit": ["exp"], "exp": 1}),
    "kid with a path": lambda i: i.token(headers={"kid": "../../etc/passwd"}),
    "kid with SQL": lambda i: i.token(headers={"kid": "' OR 1=1 --"}),
    "kid no text": lambda i: signed(i, encoded({**RS, "kid": 7}), good_claims()),
    "unknown kid": lambda i: i.token(headers={"kid": "other"}),
    "another key's kid": lambda i: i.token(headers={"kid": "ES256"}),
    "64 KB": lambda i: i.token(padding="x" * 65536),
    "duplicate claims": lambda i: signed(i, encoded(RS), encoded(DUPLICATE)),
    "duplicate header": lambda i: signed(i, encoded('{"alg": "none", "alg": "RS256", "kid": "RS256"}'), good_claims()),
    "deep": lambda i: signed(i, encoded(RS), encoded("[" * 5000)),
    "claims a list": lambda i: signed(i, encoded(RS), encoded("[]")),
    "not base64": lambda i: "a!.b!.c!",
    "two parts": lambda i: "abc.def",
    "empty": lambda i: "",
    "words": lambda i: "hello",
}


@pytest.mark.parametrize("what", list(BAD))
async def test_a_bad_token_gets_the_same_answer_as_every_other(what, issuer, gate):
    token = BAD[what](issuer)
    with pytest.raises(Unauthenticated) as refused:
        await gate.authenticate(bearer(token))
    assert str(refused.value) == "expected a token as Authorization: Bearer ..."
    assert gate.known(bearer(token)) is None


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk"])
async def test_no_key_comes_from_the_token_itself(field, issuer, gate, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *a: pytest.fail("a connection was opened"))
    evil = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    named = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(evil.public_key()))
    value = named if field == "jwk" else "https://evil.example/jwks.json"
    token = signed(issuer, encoded({**RS, "kid": "evil", field: value}), good_claims(), evil)
    with pytest.raises(Unauthenticated):
        await gate.authenticate(bearer(token))
    assert await gate.authenticate(bearer(issuer.token(headers={field: value})))  # ignored where the signature is good


async def test_within_the_leeway_a_token_is_still_good(issuer, gate):
    assert await gate.authenticate(bearer(issuer.token(exp=int(time.time()) - 5, nbf=int(time.time()) + 5)))


async def test_role_models_subject_and_tenant_come_from_configured_claims(issuer, tmp_path):
    named = {
        "jwt_subject_claim": "client_id",
        "jwt_role_claim": "realm_access.roles",
        "jwt_models_claim": "https://models.example/names",
        "jwt_tenant_claim": "org",
    }
    gate = Gate(issuer.settings(tmp_path / "jwks.json", **named))
    claims = {"client_id": "app", "org": "acme", "https://models.example/names": ["cat*", 3]}
    token = issuer.token(realm_access={"roles": ["offline", "moorage:read", "admin"]}, **claims)
    assert await gate.authenticate(bearer(token)) == Principal("app", "jwt", "admin", ("cat*",), (), "acme")
    token = issuer.token(realm_access={"roles": "openid moorage:read"}, **claims)
    assert (await gate.authenticate(bearer(token))).role == "read"
    token = issuer.token(realm_access={"roles": ["read"]}, client_id="app", org="acme")
    assert not (await gate.authenticate(bearer(token))).may_ask("cats")
    for roles in ({}, {"roles": ["Admin", "root"]}, "admin"):
        with pytest.raises(Unauthenticated):
            await gate.authenticate(bearer(issuer.token(realm_access=roles, **claims)))


async def test_keys_and_tokens_may_be_accepted_side_by_side_but_not_both_at_once(issuer, tmp_path):
    key, stored = made_key()
    write_file(tmp_path / "keys.json", [stored])
    gate = Gate(issuer.settings(tmp_path / "jwks.json", access_keys_file=str(tmp_path / "keys.json")))
    token = issuer.token()
    assert [(await gate.authenticate(one)).kind for one in (header(key), bearer(key), bearer(token))] == [
        "key",
        "key",
        "jwt",
    ]
    for headers in (header(key) + bearer(token), header(token)):
        with pytest.raises(Unauthenticated):
            await gate.authenticate(headers)


async def test_a_token_is_remembered_no_longer_than_it_is_good(issuer, gate):
    end = int(time.time()) + 3
    await gate.authenticate(bearer(issuer.token(exp=end)))
    [(until, _)] = gate._verified.values()
    assert until <= end + 30  # the leeway
    gate._verified.clear()
    await gate.authenticate(bearer(issuer.token(exp=end + 10_000)))
    [(until, _)] = gate._verified.values()
    assert until <= time.time() + 60


@pytest.mark.parametrize(
    "keys",
    [
        [{"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "kid": "a", "alg": "HS256"}],
        [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"}],
        [{"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}],
        [{"kty": "RSA"}],
        ["words"],
        [],
    ],
)
def test_a_key_set_without_a_usable_public_key_is_refused_when_the_server_starts(keys):
    with pytest.raises(ConfigurationError, match="expected a public key for signatures"):
        jwks.public_keys(json.dumps({"keys": keys}).encode(), "jwks.json")


def test_a_key_is_bound_to_the_algorithms_of_its_type_and_a_private_part_is_dropped(issuer):
    private = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(issuer.private["RS256"]))
    [key] = jwks.public_keys(json.dumps({"keys": [private]}).encode(), "x")
    assert key.algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert not hasattr(key.key, "private_numbers")
    [key] = jwks.public_keys(json.dumps({"keys": [{**private, "alg": "PS256", "use": "sig"}]}).encode(), "x")
    assert key.algorithms == {"PS256"}
    with pytest.raises(ConfigurationError):
        jwks.public_keys(json.dumps({"keys": [{**private, "use": "enc"}]}).encode(), "x")


@pytest.mark.parametrize("text", ["", "[]", '{"keys": 3}', "[" * 10_000])
def test_what_is_no_key_set_is_named(text):
    with pytest.raises(ConfigurationError, match="expected a JSON Web Key Set"):
        jwks.public_keys(text.encode(), "jwks.json")


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.evil.example/k",
        "http://127.0.0.1@evil.example/k",
        "https://user:pw@a.example/k",
        "ftp://a/k",
        "https://",
        "file:///etc/passwd",
        "http://[::1",
    ],
)
def test_keys_are_fetched_over_https_or_from_this_machine_only(url):
    with pytest.raises(ConfigurationError, match="expected https://HOST/PATH"):
        jwks.KeySet(url=url, file=None)


@pytest.mark.parametrize(
    "told",
    [
        {"jwt_issuer": "i"},
        {"jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_issuer": "i", "jwt_audience": "a", "jwt_jwks_url": "https://a", "jwt_jwks_file": "b"},
        {"jwt_audience": "a"},
        {"jwt_issuer": "i", "jwt_audience": "a", "jwt_jwks_file": "b", "jwt_algorithms": ("HS256",)},
        {"jwt_issuer": "i", "jwt_audience": "a", "jwt_jwks_file": "b", "jwt_algorithms": ()},
        {"jwt_issuer": "i", "jwt_audience": "a", "jwt_jwks_file": "b", "jwt_leeway_s": 61},
        {"access_key_header": "authorization"},
    ],
)
def test_settings_that_leave_a_gap_are_refused(told):
    with pytest.raises(ValidationError):
        AccessSettings(**told)


def test_a_key_set_that_is_a_pipe_is_refused_when_the_server_starts(issuer, tmp_path):
    settings = issuer.settings(tmp_path / "jwks.json")
    (tmp_path / "jwks.json").unlink()
    os.mkfifo(tmp_path / "jwks.json")
    with pytest.raises(ConfigurationError, match="cannot be read: not a regular file"):
        Gate(settings)


async def test_a_key_set_whose_mount_hangs_holds_up_no_caller_and_is_read_by_one_thread(issuer, tmp_path, monkeypatch):
    monkeypatch.setattr(jwks, "READ_S", 0.05)
    gate = Gate(issuer.settings(tmp_path / "jwks.json"))
    mount = MockHangingMount(tmp_path, monkeypatch)
    mount.hang()
    try:
        for number in range(5):
            monkeypatch.setattr(gate._tokens.keys, "_next_look", 0.0)
            monkeypatch.setattr(gate._tokens.keys, "_next_unknown", 0.0)
            assert await gate.authenticate(bearer(issuer.token(jti=str(number))))
            with pytest.raises(Unauthenticated):
                await gate.authenticate(bearer(issuer.token(headers={"kid": f"made up {number}"})))
        assert mount.waiting == 1
    finally:
        mount.answer()
    await gate._tokens.keys._fetching
