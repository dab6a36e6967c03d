"""Keys, tokens and doors for the tests of access."""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from moorage.access import keys
from moorage.access.stores import write_file
from moorage.api.access import AccessSettings

ISSUER, AUDIENCE = "https://issuer.example", "models"


def made_key(key_id: str = "alice", **changes: Any) -> tuple[str, keys.StoredKey]:
    """The key as its owner has it, and its document."""
    secret = keys.new_secret()
    document = {
        "id": key_id,
        "hash": keys.hashed(secret),
        "role": "read-write",
        "created": datetime.now(UTC),
        **changes,
    }
    return keys.presented(key_id, secret), keys.StoredKey.model_validate(document)


def key_settings(path: Any, *stored: keys.StoredKey, **more: Any) -> AccessSettings:
    """Keys in a file."""
    write_file(path, stored)
    return AccessSettings(access_keys_file=str(path), **more)


def header(value: str | bytes, name: bytes = b"x-api-key") -> list[tuple[bytes, bytes]]:
    return [(b"host", b"localhost"), (name, value if isinstance(value, bytes) else value.encode())]


def bearer(value: str) -> list[tuple[bytes, bytes]]:
    return header(f"Bearer {value}", b"authorization")


class Issuer:
    """Signs tokens, with one RSA, one EC and one Ed25519 key."""

    def __init__(self) -> None:
        self.private = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }

    def jwks(self) -> str:
        made = []
        for name, private in self.private.items():
            algorithm = jwt.get_algorithm_by_name(name)
            made.append({**json.loads(algorithm.to_jwk(private.public_key())), "kid": name})
        return json.dumps({"keys": made})

    def token(self, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A good one, but for the changes; None leaves a claim out."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bob", "exp": now + 300, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        with_kid = {"kid": algorithm, **(headers or {})}
        return jwt.encode(claims, self.private[algorithm], algorithm, headers=with_kid)

    def settings(self, path: Any, **more: Any) -> AccessSettings:
        path.write_text(self.jwks())
        told = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_file": str(path)}
        return AccessSettings(**{**told, "jwt_algorithms": ("RS256", "ES256", "EdDSA"), **more})


def encoded(text: str | bytes | dict[str, Any]) -> str:
    """A part of a token."""
    data = json.dumps(text) if isinstance(text, dict) else text
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()
